package onnx

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"advsweep/model"
	"advsweep/model/internal/formats"
	"advsweep/model/onnx/internal/pb"

	"gorgonia.org/tensor"
)

// An ONNX graph is run once, node by node, on values that stand for numbers: constants, which are
// computed with, and outputs of layers, which are only described. Nodes that compute make layers;
// nodes that move change the description.

// batchAxis is the size of an axis whose size is that of the batch; in numbers that are sizes NaN
// stands for it.
const batchAxis = -1

// A value is what a name of the graph stands for.
type value struct {
	c *constant // known numbers, or else:

	layer int      // f of each element of the output of this layer, -1 being the image,
	f     *formula // nil: the element itself,
	view  view     // seen in this shape and order,
	pads  [][2]int // with so many zeros before and behind along each axis; nil: none
	sole  bool     // nothing else takes the layer's output
}

// A constant is a tensor of known numbers: of p, or if that is nil data.
type constant struct {
	dims  []int
	data  []float64
	p     *pb.TensorProto
	whole bool // integers
}

// A view is the shape of a tensor, with batchAxis, and for each axis the step between neighbours
// among the elements of the layer's output, or where of is not nil among those of that view, each
// in row-major order.
type view struct {
	shape, strides []int
	of             *view
}

// maxViews bounds how many views lie on each other.
const maxViews = 8

// natural is a view of elements as they lie.
func natural(shape []int) view {
	v := view{shape: shape, strides: make([]int, len(shape))}
	step := 1
	for i := len(shape) - 1; i >= 0; i-- {
		if shape[i] != batchAxis {
			v.strides[i] = step
			step *= shape[i]
		}
	}
	return v
}

// isNatural reports whether v's order is that of the elements.
func (v *view) isNatural() bool {
	if v.of != nil {
		return false
	}
	n := natural(v.shape)
	for i, s := range v.shape {
		if s > 1 && v.strides[i] != n.strides[i] {
			return false
		}
	}
	return true
}

// elements is how many of one image there are.
func (v *view) elements() int {
	n := 1
	for _, s := range v.shape {
		if s != batchAxis {
			n *= s
		}
	}
	return n
}

// at returns which element of the layer's output is element k of v.
func (v *view) at(k int) int {
	for ; v != nil; v = v.of {
		from, rest := 0, k
		for i := len(v.shape) - 1; i >= 0; i-- {
			if s := v.shape[i]; s > 1 {
				from += rest % s * v.strides[i]
				rest /= s
			}
		}
		k = from
	}
	return k
}

// sameView reports whether a and b show the same element at each place.
func sameView(a, b view) bool {
	if !slices.Equal(a.shape, b.shape) || (a.of == nil) != (b.of == nil) {
		return false
	}
	for i, s := range a.shape {
		if s > 1 && a.strides[i] != b.strides[i] {
			return false
		}
	}
	return a.of == nil || sameView(*a.of, *b.of)
}

// by prints a shape, "[N 3 32 32]".
func by(shape []int) string {
	return strings.ReplaceAll(fmt.Sprint(shape), "-1", "N")
}

// A formula is a function of one number x, made of a few operations.
type formula struct {
	op   string // "x", "affine" (a·x + b), "pow" (to the b), "add", "mul", or a row of unaries
	a, b float64
	args []*formula
	size int // operations, those that are shared counted each time
	done int // the layer that computes it, plus 2; 0: none yet
}

// maxFormula is a few times what any way to write GELU takes.
const maxFormula = 64

func newFormula(op string, a, b float64, args ...*formula) (*formula, error) {
	f := &formula{op: op, a: a, b: b, args: args, size: 1}
	for _, arg := range args {
		f.size += arg.size
	}
	if f.size > maxFormula {
		return nil, fmt.Errorf("a formula of more than %d operations on each element", maxFormula)
	}
	return f, nil
}

// eval returns f at x. Products are rounded, and sums after them, on every processor.
func (f *formula) eval(x float64) float64 {
	switch f.op {
	case "x":
		return x
	case "affine":
		return float64(f.a*f.args[0].eval(x)) + f.b
	case "pow":
		return math.Pow(f.args[0].eval(x), f.b)
	case "add":
		return f.args[0].eval(x) + f.args[1].eval(x)
	case "mul":
		return float64(f.args[0].eval(x) * f.args[1].eval(x))
	}
	return unaries[f.op].value(f.args[0].eval(x))
}

// known returns the one of asFormulas that f is, if any. Exporters write them in many orders and
// with rounded constants, so f is known by its values; the two forms of GELU differ by up to 5e-4.
func (f *formula) known() (model.Elementwise, bool) {
	const most = 1e-4
	for _, l := range asFormulas {
		off := 0.0
		for x := -8.0; x <= 8; x += 1.0 / 16 {
			off = max(off, math.Abs(f.eval(x)-l.Value(x))) // max keeps NaN
		}
		if off <= most {
			return l, true
		}
	}
	return nil, false
}

// A graph is an ONNX graph that is being turned into layers.
type graph struct {
	*tensors
	opset  int64
	batch  int // the size of the batch, if the file fixes one above 1
	values map[string]*value
	uses   map[string]int
	input  []int // shape of the image
	steps  []step
	names  map[string]int // of layers, and how often each was wanted
	double bool
	notes  []string
}

// A step is a layer that may still change.
type step struct {
	layer  model.Layer
	from   []int
	shape  []int     // of its output
	name   string    // of a layer with weights
	weight []float64 // of a Scale
	bias   []float64 // of a layer with weights
	open   bool      // a Linear or Conv2D that has no bias of its own yet
}

// A wantInput asks for the conversion to be done again with an image of another shape and as many
// elements.
type wantInput struct{ shape []int }

func (w wantInput) Error() string {
	return fmt.Sprintf("the image is used as %v, and before in another shape", w.shape)
}

// supportedOps lists what is read, for messages.
func supportedOps() string {
	var names []string
	for name := range operators {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ") + "; and at the end Softmax, LogSoftmax, ArgMax, ZipMap"
}

// convert returns the model that p describes, with the numbers of t. It is not validated.
func convert(p *pb.ModelProto, t *tensors) (*model.Model, error) {
	g := p.GetGraph()
	if len(g.GetSparseInitializer()) > 0 {
		return nil, errors.New("sparse initializers, want dense ones")
	}
	opset := int64(0)
	for _, o := range p.GetOpsetImport() {
		if d := o.GetDomain(); d == "" || d == "ai.onnx" {
			opset = o.GetVersion()
		}
	}
	if opset < minOpset {
		return nil, fmt.Errorf("opset %d, want at least %d: export it anew", opset, minOpset)
	}
	out, err := chooseOutput(g, opset)
	if err != nil {
		return nil, err
	}
	var m *model.Model
	left := t.left
	c := &graph{tensors: t, opset: opset}
	err = c.convert(g, out)
	var want wantInput
	if errors.As(err, &want) {
		t.left = left
		c = &graph{tensors: t, opset: opset, input: want.shape}
		err = c.convert(g, out)
	}
	if err == nil {
		m, err = c.model(out)
	}
	if err != nil && len(p.GetFunctions()) > 0 {
		f := p.GetFunctions()[0]
		return nil, fmt.Errorf("%w (the file has %d functions of its own, the first %s; onnx.inliner of the Python package can dissolve them)",
			err, len(p.GetFunctions()), formats.Quote(f.GetName()))
	}
	if err != nil {
		return nil, err
	}
	m.Notes = append(out.notes, c.notes...)
	if opset > maxOpset {
		m.Notes = append(m.Notes, fmt.Sprintf("opset %d is newer than %d, the newest known here", opset, maxOpset))
	}
	if s, ok := m.Layers[0].(model.Scale); ok && m.Takes(0)[0] < 0 && slices.ContainsFunc(formats.Wide(s.Weight), func(w float64) bool { return math.Abs(w) < 0.1 }) {
		m.Notes = append(m.Notes, fmt.Sprintf("its first layer makes pixels smaller, by %.3g: was it made for pixels from 0 to 255? Here they lie in [0, 1]", formats.Wide(s.Weight)[0]))
	}
	if m.Input != nil { // pixels in a row make an MLP, which has the fast routes
		if s := (&model.Model{Layers: m.Layers, From: m.From}); s.IsMLP() {
			if len(m.Input) == 3 {
				m.Image = m.Input
			}
			m.Input = nil
		}
	}
	return m, nil
}

// An output is what of the graph is taken for the logits.
type output struct {
	name    string
	softmax *pb.NodeProto // that was taken off
	notes   []string
}

// maxOutputs bounds how often a graph is walked through from its end.
const maxOutputs = 64

// chooseOutput returns the value that holds the logits: what the only output of scores is made from
// by softmax and the like.
func chooseOutput(g *pb.GraphProto, opset int64) (output, error) {
	made := make(map[string]*pb.NodeProto)
	for _, n := range g.GetNode() {
		for _, o := range n.GetOutput() {
			made[o] = n
		}
	}
	tail := func(name string) (o output, classes bool) {
		o.name = name
		class := name // walks on through what follows the choice of a class
		for range g.GetNode() {
			n := made[class]
			if n == nil || len(n.GetInput()) == 0 {
				break
			}
			next := n.GetInput()[0]
			switch n.GetOpType() {
			case "ArgMax":
				o.name, classes = next, true
				o.notes = append(o.notes, "ArgMax at the end is left out")
			case "ArrayFeatureExtractor": // sklearn's label of a class
				if len(n.GetInput()) < 2 {
					return o, classes
				}
				next = n.GetInput()[1]
			case "Cast", "Reshape", "Squeeze", "LabelEncoder":
			default:
				next = ""
			}
			if class = next; classes || class == "" {
				break
			}
		}
		for range g.GetNode() {
			n := made[o.name]
			if n == nil || len(n.GetInput()) == 0 {
				break
			}
			switch op := n.GetOpType(); op {
			case "Softmax", "LogSoftmax":
				o.softmax = n
				fallthrough
			case "ZipMap":
				o.notes = append(o.notes, op+" at the end is left out")
			case "Identity":
			default:
				return o, classes
			}
			o.name = n.GetInput()[0]
			if o.softmax != nil {
				return o, classes
			}
		}
		return o, classes
	}
	if len(g.GetOutput()) == 0 {
		return output{}, errors.New("no outputs")
	}
	if n := len(g.GetOutput()); n > maxOutputs {
		return output{}, fmt.Errorf("%d outputs, want at most %d", n, maxOutputs)
	}
	var found, labels []output
	var names []string
	for _, o := range g.GetOutput() {
		names = append(names, formats.Quote(o.GetName()))
		t, classes := tail(o.GetName())
		to := &found
		if classes {
			to = &labels
		}
		if !slices.ContainsFunc(*to, func(o output) bool { return o.name == t.name }) {
			*to = append(*to, t)
		}
	}
	if len(found) == 0 {
		found = labels
	}
	if len(found) > 1 {
		return output{}, fmt.Errorf("outputs %s, and which is the logits cannot be told: export the model with one", strings.Join(names[:min(len(names), 8)], ", "))
	}
	if len(names) > 1 {
		found[0].notes = append(found[0].notes, fmt.Sprintf("of the outputs %s the logits are those that %s is made of", strings.Join(names[:min(len(names), 8)], ", "), formats.Quote(found[0].name)))
	}
	return found[0], nil
}

// convert turns the nodes that the output depends on into steps.
func (g *graph) convert(p *pb.GraphProto, out output) error {
	g.values = make(map[string]*value)
	g.names = make(map[string]int)
	initial := make(map[string]bool)
	for _, t := range p.GetInitializer() {
		if err := g.define(t.GetName(), nil); err != nil {
			return err
		}
		initial[t.GetName()] = true
		c, err := constantOf(t)
		if err != nil {
			return fmt.Errorf("tensor %s: %w", formats.Quote(t.GetName()), err)
		}
		g.values[t.GetName()] = &value{c: c}
		g.double = g.double || t.GetDataType() == int32(pb.TensorProto_DOUBLE) && len(t.GetDims()) > 1
	}
	var inputs []*pb.ValueInfoProto
	for _, in := range p.GetInput() {
		if !initial[in.GetName()] { // old files list those too
			inputs = append(inputs, in)
		}
	}
	if len(inputs) != 1 {
		return fmt.Errorf("%d inputs%s, want 1, the images", len(inputs), inputNames(inputs))
	}

	g.uses = map[string]int{out.name: 1}
	var nodes []*pb.NodeProto // that are needed, last first
	for _, n := range slices.Backward(p.GetNode()) {
		if !slices.ContainsFunc(n.GetOutput(), func(o string) bool { return o != "" && g.uses[o] > 0 }) {
			continue
		}
		nodes = append(nodes, n)
		for _, in := range n.GetInput() {
			g.uses[in]++
		}
		for _, a := range n.GetAttribute() {
			t := a.GetT()
			g.double = g.double || t.GetDataType() == int32(pb.TensorProto_DOUBLE) && len(t.GetDims()) > 1
		}
	}
	image, err := g.image(inputs[0], nodes)
	if err != nil {
		return fmt.Errorf("input %s: %w", formats.Quote(inputs[0].GetName()), err)
	}
	image.sole = true
	if err := g.define(inputs[0].GetName(), image); err != nil {
		return err
	}
	for _, n := range slices.Backward(nodes) {
		v, err := g.run(n)
		if err != nil {
			return fmt.Errorf("%s %s: %w", formats.Quote(opName(n)), formats.Quote(nodeName(n)), err)
		}
		if err := g.define(n.GetOutput()[0], v); err != nil {
			return err
		}
	}
	return nil
}

func inputNames(inputs []*pb.ValueInfoProto) string {
	var names []string
	for _, in := range inputs[:min(len(inputs), 8)] {
		names = append(names, formats.Quote(in.GetName()))
	}
	if names == nil {
		return ""
	}
	return " (" + strings.Join(names, ", ") + ")"
}

// define gives a name its value.
func (g *graph) define(name string, v *value) error {
	if _, ok := g.values[name]; ok || name == "" {
		return fmt.Errorf("value %s: two of this name", formats.Quote(name))
	}
	g.values[name] = v
	return nil
}

// opName and nodeName name a node for people; some writers name only the outputs.
func opName(n *pb.NodeProto) string {
	if d := n.GetDomain(); d != "" && d != "ai.onnx" {
		return d + "." + n.GetOpType()
	}
	return n.GetOpType()
}

func nodeName(n *pb.NodeProto) string {
	if n.GetName() == "" && len(n.GetOutput()) > 0 {
		return n.GetOutput()[0]
	}
	return n.GetName()
}

// image returns the value of the graph's input and sets g.input.
func (g *graph) image(in *pb.ValueInfoProto, nodes []*pb.NodeProto) (*value, error) {
	t := in.GetType().GetTensorType()
	switch kind := pb.TensorProto_DataType(t.GetElemType()); kind {
	case pb.TensorProto_FLOAT, pb.TensorProto_DOUBLE, pb.TensorProto_FLOAT16, pb.TensorProto_BFLOAT16:
	default: // an integer's pixels are not in [0, 1]
		return nil, fmt.Errorf("type %v, want a float, as images in [0, 1] are", kind)
	}
	if t.GetShape() == nil {
		return nil, errors.New("no shape, want one of all but the batch")
	}
	dims := t.GetShape().GetDim()
	if len(dims) == 0 || len(dims) > formats.MaxRank {
		return nil, fmt.Errorf("rank %d, want 1 to %d", len(dims), formats.MaxRank)
	}
	shape := make([]int, len(dims))
	n := 1
	for i, d := range dims {
		size := d.GetDimValue()
		if i == 0 && size < 1 && len(dims) > 1 {
			shape[0] = batchAxis
			continue
		}
		if size < 1 {
			return nil, fmt.Errorf("axis %d of %d has no fixed size: only the batch, the first, may have none", i, len(dims))
		}
		if size > formats.MaxElements || n > formats.MaxElements/int(size) {
			return nil, fmt.Errorf("more than %d elements", formats.MaxElements)
		}
		shape[i] = int(size)
		n *= int(size)
	}
	rank := len(shape)
	// A batch of a fixed size is one all the same. Without a batch are [I] and the column [I, 1].
	if s := shape[0]; rank > 1 && s > 1 && (rank > 2 || shape[1] > 1) {
		g.batch, shape[0] = s, batchAxis
	}
	v := &value{layer: -1, view: natural(shape)}
	input := []int{v.view.elements()}
	if rank == 4 {
		h, w, c := shape[1], shape[2], shape[3]
		input = []int{h, w, c}
		if last, why := channelsLast(in.GetName(), shape, nodes); last {
			input = []int{c, h, w}
			v.view.strides = []int{0, w, 1, h * w}
			if why != "" {
				g.notes = append(g.notes, why)
			}
		}
	}
	if g.input == nil {
		g.input = input
	} else if formats.Volume(g.input) != v.view.elements() {
		return nil, fmt.Errorf("shape %v, want as many elements as %v", by(shape), g.input)
	}
	return v, nil
}

// channelsLast reports whether images [N, a, b, c] are N×H×W×C: if they are turned before anything
// takes them for images, or if the last dimension alone is that of channels, which is worth a note.
func channelsLast(name string, shape []int, nodes []*pb.NodeProto) (bool, string) {
	for _, n := range slices.Backward(nodes) {
		if !slices.Contains(n.GetInput(), name) || len(n.GetOutput()) == 0 {
			continue
		}
		switch n.GetOpType() {
		case "Transpose":
			for _, a := range n.GetAttribute() {
				if a.GetName() == "perm" && slices.Equal(a.GetInts(), []int64{0, 3, 1, 2}) {
					return true, ""
				}
			}
		case "Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "BatchNormalization":
			return false, ""
		case "Add", "Sub", "Mul", "Div", "Cast", "Identity", "Pad":
			name = n.GetOutput()[0]
		}
	}
	channels := func(d int) bool { return d == 1 || d == 3 }
	if channels(shape[3]) && !channels(shape[1]) {
		return true, fmt.Sprintf("images %s are taken as N×H×W×C", by(shape))
	}
	return false, ""
}

// model returns the layers up to the output.
func (g *graph) model(out output) (*model.Model, error) {
	v := g.values[out.name]
	if v == nil || v.c != nil {
		return nil, fmt.Errorf("output %s does not depend on the image", formats.Quote(out.name))
	}
	v, err := g.settle(v)
	if err != nil {
		return nil, fmt.Errorf("output %s: %w", formats.Quote(out.name), err)
	}
	if v.layer < 0 {
		return nil, fmt.Errorf("output %s is the image itself", formats.Quote(out.name))
	}
	if v.pads != nil || !v.view.isNatural() {
		return nil, fmt.Errorf("output %s is padded or turned, want logits as a layer gives them", formats.Quote(out.name))
	}
	if out.softmax != nil {
		if err := g.checkSoftmax(out.softmax, v.view.shape); err != nil {
			return nil, fmt.Errorf("%s %s: %w", formats.Quote(opName(out.softmax)), formats.Quote(nodeName(out.softmax)), err)
		}
	}
	// What the output does not need goes.
	keep := make([]bool, len(g.steps))
	keep[v.layer] = true
	for i := v.layer; i >= 0; i-- {
		for _, j := range g.steps[i].from {
			if keep[i] && j >= 0 {
				keep[j] = true
			}
		}
	}
	m := &model.Model{Input: g.input}
	at := make([]int, len(g.steps))
	chain := true
	for i, s := range g.steps {
		if !keep[i] {
			continue
		}
		at[i] = len(m.Layers)
		from := make([]int, len(s.from))
		for k, j := range s.from {
			if from[k] = j; j >= 0 {
				from[k] = at[j]
			}
		}
		chain = chain && len(from) == 1 && from[0] == len(m.Layers)-1
		m.From = append(m.From, from)
		switch l := s.layer.(type) {
		case model.Linear:
			l.Name, l.Bias = s.name, g.dense(s.bias, len(s.bias))
			m.Layers = append(m.Layers, l)
		case model.Conv2D:
			l.Name, l.Bias = s.name, g.dense(s.bias, len(s.bias))
			m.Layers = append(m.Layers, l)
		case model.Scale:
			m.Layers = append(m.Layers, model.Scale{Name: s.name, Weight: g.dense(s.weight, len(s.weight)), Bias: g.dense(s.bias, len(s.bias))})
		default:
			m.Layers = append(m.Layers, l)
		}
	}
	if chain {
		m.From = nil
	}
	return m, nil
}

// checkSoftmax returns an error unless n runs over the classes of one image.
func (g *graph) checkSoftmax(n *pb.NodeProto, shape []int) error {
	axis := int64(-1)
	if g.opset < 13 {
		axis = 1
	}
	for _, a := range n.GetAttribute() {
		if a.GetName() == "axis" {
			axis = a.GetI()
		}
	}
	if axis < 0 {
		axis += int64(len(shape))
	}
	for i, s := range shape {
		if s > 1 && int64(i) != axis && (g.opset >= 13 || int64(i) < axis) || s == batchAxis && int64(i) >= axis {
			return fmt.Errorf("over axis %d of %s, want over the classes", axis, by(shape))
		}
	}
	return nil
}

// dense returns a tensor of the type of the model's weights. Numbers that round to infinity are
// found by validate.
func (g *graph) dense(data []float64, shape ...int) *tensor.Dense {
	if g.double {
		return formats.Dense(data, shape...)
	}
	single := make([]float32, len(data))
	for i, v := range data {
		single[i] = float32(v)
	}
	return formats.Dense(single, shape...)
}

// shape returns that of the output of a layer, -1 being the image.
func (g *graph) shape(layer int) []int {
	if layer < 0 {
		return g.input
	}
	return g.steps[layer].shape
}

// append adds a step and returns its index.
func (g *graph) append(s step) (int, error) {
	var in [][]int
	for _, j := range s.from {
		in = append(in, g.shape(j))
	}
	var err error
	if s.shape, err = s.layer.Shape(in); err != nil {
		return 0, err
	}
	if formats.Volume(s.shape) > formats.MaxElements {
		return 0, fmt.Errorf("output %v, want at most %d elements", s.shape, formats.MaxElements)
	}
	g.steps = append(g.steps, s)
	return len(g.steps) - 1, nil
}

// unique returns a name for a layer, of that of its weights if they have one, that no other layer
// has.
func (g *graph) unique(weights, node, kind string) string {
	name := node
	if layer, part := formats.SplitName(weights); part == "weight" && layer != "" {
		name = layer
	}
	if name == "" {
		name = fmt.Sprintf("%s%d", kind, len(g.steps))
	}
	name = strings.ToValidUTF8(name, "?")
	base := name
	for g.names[name] > 0 {
		g.names[base]++
		name = fmt.Sprintf("%s_%d", base, g.names[base])
	}
	g.names[name] = 1
	return name
}

// settle returns v with no formula left: as layers.
func (g *graph) settle(v *value) (*value, error) {
	if v.f == nil {
		return v, nil
	}
	layer, err := g.compute(v.f, v.layer, v.sole)
	if err != nil {
		return nil, err
	}
	return &value{layer: layer, view: v.view, pads: v.pads, sole: v.sole}, nil
}

// compute returns the layer that gives f of each element of x.
func (g *graph) compute(f *formula, x int, sole bool) (int, error) {
	if f.op == "x" {
		return x, nil
	}
	if f.done > 0 {
		return f.done - 2, nil
	}
	var layer int
	var err error
	if l, ok := f.known(); ok {
		layer, err = g.append(step{layer: l, from: []int{x}})
	} else {
		var in []int
		for _, arg := range f.args {
			i, err := g.compute(arg, x, sole)
			if err != nil {
				return 0, err
			}
			in = append(in, i)
		}
		switch f.op {
		case "affine":
			n := g.shape(in[0])[0]
			if err := g.spend(2 * n); err != nil {
				return 0, err
			}
			w, b := make([]float64, n), make([]float64, n)
			for i := range w {
				w[i], b[i] = f.a, f.b
			}
			layer, err = g.scale(in[0], sole && in[0] == x, w, b)
		case "add":
			layer, err = g.append(step{layer: model.Add{}, from: in})
		default:
			l := unaries[f.op].layer
			if l == nil {
				return 0, fmt.Errorf("%s within a formula that is none of %s", strings.ToLower(f.op), knownFormulas())
			}
			layer, err = g.append(step{layer: l, from: in})
		}
	}
	f.done = layer + 2
	return layer, err
}

// scale returns the layer that gives w·x + b by channel of the output x of a layer. If nothing else
// takes x that may be what x has as a bias, or a Scale, changed.
func (g *graph) scale(x int, sole bool, w, b []float64) (int, error) {
	if x >= 0 && sole {
		switch s := &g.steps[x]; s.layer.(type) {
		case model.Scale:
			for i := range w {
				s.weight[i] *= w[i]
				s.bias[i] = float64(s.bias[i]*w[i]) + b[i]
			}
			return x, nil
		case model.Linear, model.Conv2D:
			if s.open && !slices.ContainsFunc(w, func(v float64) bool { return v != 1 }) {
				s.bias, s.open = b, false
				return x, nil
			}
		}
	}
	// The real numbers are only set at the end, but the shape is asked for.
	return g.append(step{
		layer: model.Scale{Weight: formats.Dense(w, len(w))}, from: []int{x}, name: g.unique("", "", "scale"), weight: w, bias: b,
	})
}
