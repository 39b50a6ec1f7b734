"""Writes schemas.txt: what ONNX's own definitions say of its operators from operator set 7 on.

    python make.py

A line is an operator of a domain from a version on, in columns divided by tabs: the domain ("" is the standard one), the name, the version, the
least and largest number of inputs and of outputs, the types of inputs, those of outputs, the attributes, and the type parameters. A type is the
number of a TensorProto.DataType or a parameter; behind it are "?" of one that may be left out, "*" of any number of one type, "~" of any number of
any types. An attribute is its name and the number of its AttributeProto.AttributeType, with "!" where it must be there. A parameter is its name
and the numbers that it may be; none are other things than tensors. Made with onnx 1.23.2, whose definitions are under Apache-2.0.
"""
import pathlib

import onnx

NUMBER = {f"tensor({k.lower()})": v for k, v in onnx.TensorProto.DataType.items()}
FIRST = 7


def types(params):
    out = []
    for p in params:
        mark = {"Single": "", "Optional": "?", "Variadic": "*" if p.is_homogeneous else "~"}[p.option.name]
        out.append(str(NUMBER.get(p.type_str, p.type_str.replace(" ", ""))) + mark)
    return ",".join(out)


lines, newest = [], {}
for s in onnx.defs.get_all_schemas_with_history():
    # Upsample is one that others write all the same; a version may be out of date, as GroupNormalization of 18 is.
    if s.domain in ("", "ai.onnx.ml") and (s.inputs or not s.deprecated):
        newest.setdefault((s.domain, s.name), []).append(s)
for (domain, name), all in sorted(newest.items()):
    all.sort(key=lambda s: s.since_version)
    for s, later in zip(all, all[1:] + [None]):
        if domain == "" and later is not None and later.since_version <= FIRST:
            continue
        attributes = ",".join(f"{a.name}:{a.type.value}{'!' if a.required else ''}" for _, a in sorted(s.attributes.items()))
        params = ";".join(f"{c.type_param_str}={','.join(str(NUMBER[t]) for t in sorted(c.allowed_type_strs) if t in NUMBER)}" for c in s.type_constraints)
        lines.append("\t".join([domain, name, str(s.since_version), str(s.min_input), str(min(s.max_input, 2**31 - 1)), str(s.min_output),
                                str(min(s.max_output, 2**31 - 1)), types(s.inputs), types(s.outputs), attributes, params]))
(pathlib.Path(__file__).parent / "schemas.txt").write_text("\n".join(lines) + "\n")
