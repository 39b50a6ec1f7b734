package onnx

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"advsweep/model"
	"advsweep/model/internal/formats"
	"advsweep/model/onnx/internal/pb"

	"gorgonia.org/tensor"
)

// A graph is an ONNX graph that is being turned into layers.
type graph struct {
	*tensors
	opset  int64
	batch  int // the size of the batch, if the file fixes one above 1
	values map[string]*value
	uses   map[string]int
	input  []int // shape of the image
	free   []int // rows and columns of the image where the file leaves them free; nil: not known
	asIs   bool  // numbers keep the order and the scale of the file: model.Ask.AsIs
	steps  []step
	names  map[string]int // of layers, and how often each was wanted
	double bool
	room   int // places that values may still have
	faults []fault
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
	taken  bool      // another step takes its output
}

// A fault is a node that is not supported.
type fault struct {
	op, node string
	err      error
}

// A wantInput asks for the conversion to be done again with an image of another shape and as many
// elements.
type wantInput struct{ shape []int }

func (w wantInput) Error() string {
	return fmt.Sprintf("the image is used as %v, and before in another shape", w.shape)
}

// convert returns the model that p describes, with the numbers of t. It is not validated.
func convert(p *pb.ModelProto, t *tensors, size int64, ask model.Ask) (*model.Model, error) {
	pg := p.GetGraph()
	if len(pg.GetSparseInitializer()) > 0 {
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
	if opset > maxOpset+20 {
		return nil, fmt.Errorf("opset %d, which there is not: %d is the newest that is known here", opset, maxOpset)
	}
	functions := make(map[string]*pb.FunctionProto)
	for _, f := range p.GetFunctions() {
		functions[f.GetDomain()+"."+f.GetName()] = f
	}
	nodes, err := inline(pg.GetNode(), functions)
	if err != nil {
		return nil, err
	}
	pg.Node = nodes
	out, err := chooseOutput(pg, ask)
	if err != nil {
		return nil, err
	}
	var m *model.Model
	left, memory := t.left, t.memory
	try := func(input []int) error {
		t.left, t.memory = left, memory
		c := &graph{tensors: t, opset: opset, input: input, free: ask.Image, asIs: ask.AsIs, room: leastPlaces + 2*int(size)}
		err := c.convert(pg, out)
		if err == nil {
			m, err = c.model(out)
		}
		if err == nil {
			m.Notes = slices.Concat(out.notes, c.notes)
		}
		return err
	}
	err = try(nil)
	var want wantInput
	if errors.As(err, &want) {
		err = try(want.shape)
	}
	if err != nil {
		return nil, err
	}
	if opset > maxOpset {
		m.Notes = append(m.Notes, fmt.Sprintf("opset %d is newer than %d, the newest known here", opset, maxOpset))
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

// leastPlaces bounds how many places values of a small file have, of four bytes each. A Swin-B of
// 224 rows and columns has eight times as many, and a file of 350 MB.
const leastPlaces = 1 << 24

// convert turns the nodes that the output depends on into steps.
func (g *graph) convert(p *pb.GraphProto, out output) error {
	g.values = make(map[string]*value)
	g.names = make(map[string]int)
	initial := make(map[string]bool)
	for _, t := range p.GetInitializer() {
		initial[t.GetName()] = true
		v, err := constantOf(t)
		if err != nil {
			return fmt.Errorf("tensor %s: %w", formats.Quote(t.GetName()), err)
		}
		if err := g.define(t.GetName(), v); err != nil {
			return err
		}
		g.double = g.double || t.GetDataType() == int32(pb.TensorProto_DOUBLE) && len(t.GetDims()) > 1
	}
	var inputs []*pb.ValueInfoProto
	for _, in := range p.GetInput() {
		if !initial[in.GetName()] { // old files list those too
			inputs = append(inputs, in)
		}
	}
	g.uses = map[string]int{out.name: 1}
	var nodes []*pb.NodeProto // that are needed, last first
	for _, n := range slices.Backward(p.GetNode()) {
		if !slices.ContainsFunc(n.GetOutput(), func(o string) bool { return o != "" && g.uses[o] > 0 }) {
			continue
		}
		nodes = append(nodes, n)
		g.countUses([]*pb.NodeProto{n}, 0)
	}
	inputs = slices.DeleteFunc(inputs, func(in *pb.ValueInfoProto) bool { return len(inputs) > 1 && g.uses[in.GetName()] == 0 })
	if len(inputs) != 1 {
		return fmt.Errorf("%d inputs%s, want 1, the images", len(inputs), inputNames(inputs))
	}
	image, err := g.image(inputs[0], nodes)
	if err != nil {
		return fmt.Errorf("input %s: %w", formats.Quote(inputs[0].GetName()), err)
	}
	if err := g.define(inputs[0].GetName(), image); err != nil {
		return err
	}
	for _, n := range slices.Backward(nodes) {
		all, err := g.run(n)
		var again wantInput
		var broken brokenError
		switch {
		case errors.As(err, &again):
			return err
		case errors.As(err, &broken):
			return fmt.Errorf("%s %s: %w", formats.Quote(opName(n)), formats.Quote(nodeName(n)), err)
		case err != nil && !errors.Is(err, errUnknownInput):
			g.faults = append(g.faults, fault{opName(n), nodeName(n), err})
		}
		for i, o := range n.GetOutput() {
			if o == "" {
				continue
			}
			var v *value // nil: nothing can be said of it
			switch {
			case err != nil:
			case i < len(all) && all[i] != nil:
				one := *all[i]
				v = &one
			case g.uses[o] > 0:
				g.faults = append(g.faults, fault{opName(n), nodeName(n), fmt.Errorf("its output %d, %s, is used, which is not supported", i, formats.Quote(o))})
			}
			if err := g.define(o, v); err != nil {
				return err
			}
		}
	}
	return g.fault()
}

// fault returns an error that tells of all nodes that are not supported, each kind once.
func (g *graph) fault() error {
	if len(g.faults) == 0 {
		return nil
	}
	if len(g.faults) == 1 {
		f := g.faults[0]
		return fmt.Errorf("%s %s: %w", formats.Quote(f.op), formats.Quote(f.node), f.err)
	}
	type kind struct {
		first fault
		n     int
	}
	var kinds []kind
	for _, f := range g.faults {
		i := slices.IndexFunc(kinds, func(k kind) bool {
			return k.first.op == f.op && k.first.err.Error() == f.err.Error()
		})
		if i < 0 {
			i = len(kinds)
			kinds = append(kinds, kind{first: f})
		}
		kinds[i].n++
	}
	var lines []string
	for i, k := range kinds {
		if i == 8 {
			lines = append(lines, fmt.Sprintf("and %d more kinds", len(kinds)-i))
			break
		}
		lines = append(lines, fmt.Sprintf("%d × %s (as %s): %v", k.n, formats.Quote(k.first.op), formats.Quote(k.first.node), k.first.err))
	}
	return fmt.Errorf("%d nodes are not supported: %s", len(g.faults), strings.Join(lines, "; "))
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

// A brokenError is for a file that no program can read, whatever it supports.
type brokenError struct{ what string }

func (e brokenError) Error() string { return e.what }

// define gives a name its value.
func (g *graph) define(name string, v *value) error {
	if _, ok := g.values[name]; ok || name == "" {
		return fmt.Errorf("value %s: two of this name", formats.Quote(name))
	}
	if v != nil {
		v.uses = g.uses[name]
		v.sole = v.sole && v.uses <= 1
		if v.f != nil && v.uses > 1 {
			v.f.shared = true
		}
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
	case pb.TensorProto_UINT8:
		if g.asIs {
			return nil, errors.New("type uint8, want a float: its numbers are whole, and those asked for are not")
		}
		g.notes = append(g.notes, "it takes whole numbers from 0 to 255: here pixels lie in [0, 1], so they are given to it times 255, and not rounded")
	default:
		return nil, fmt.Errorf("type %v, want a float or uint8, as images are", kind)
	}
	whole := pb.TensorProto_DataType(t.GetElemType()) == pb.TensorProto_UINT8
	if t.GetShape() == nil {
		return nil, errors.New("no shape, want one of all but the batch")
	}
	dims := t.GetShape().GetDim()
	if len(dims) == 0 || len(dims) > formats.MaxRank {
		return nil, fmt.Errorf("rank %d, want 1 to %d", len(dims), formats.MaxRank)
	}
	shape := make([]int, len(dims))
	var open []int
	n := 1
	for i, d := range dims {
		size := d.GetDimValue()
		if i == 0 && size < 1 && len(dims) > 1 {
			if _, said := d.GetValue().(*pb.TensorShapeProto_Dimension_DimValue); said {
				g.notes = append(g.notes, fmt.Sprintf("it says that it takes %d images at a time, which is taken for any number", size))
			}
			shape[0] = -1
			continue
		}
		if size < 1 {
			open = append(open, i)
			continue
		}
		if size > formats.MaxElements || n > formats.MaxElements/int(size) {
			return nil, fmt.Errorf("more than %d elements", formats.MaxElements)
		}
		shape[i] = int(size)
		n *= int(size)
	}
	if err := g.fill(shape, open, in.GetName(), nodes); err != nil {
		return nil, err
	}
	rank := len(shape)
	v := &value{shape: shape, batch: -1, src: []int{-1}}
	// A batch of a fixed size is one all the same. Without a batch are [I] and the column [I, 1].
	switch s := shape[0]; {
	case s < 0:
		v.batch, shape[0] = 0, 1
	case rank > 1 && s > 1 && (rank > 2 || shape[1] > 1):
		g.batch, v.batch, shape[0] = s, 0, 1
	}
	if _, err := countOf(shape); err != nil {
		return nil, err
	}
	input := []int{v.volume()}
	if rank == 4 {
		h, w, c := shape[1], shape[2], shape[3]
		input = []int{h, w, c}
		if last, why := channelsLast(in.GetName(), v, nodes); last && !g.asIs {
			input = []int{c, h, w}
			var err error
			if v.idx, err = g.strided(shape, []int{0, w, 1, h * w}, 0); err != nil {
				return nil, err
			}
			g.notes = append(g.notes, why)
		}
	}
	if g.input == nil {
		g.input = input
	} else if formats.Volume(g.input) != v.volume() {
		return nil, fmt.Errorf("shape %v, want as many elements as %v", v, g.input)
	}
	if whole {
		return g.scalar(v, 255, 0)
	}
	return v, nil
}

// fill gives the rows and columns of an image the sizes that the caller has, where the file leaves
// them free.
func (g *graph) fill(shape, open []int, name string, nodes []*pb.NodeProto) error {
	if len(open) == 0 {
		return nil
	}
	if len(shape) != 4 || len(open) > 2 || slices.Contains(open, 0) {
		return fmt.Errorf("axis %d of %d has no fixed size: only the batch, the first, and rows and columns of images may have none", open[0], len(shape))
	}
	v := &value{shape: slices.Clone(shape), batch: 0}
	for i := range v.shape {
		v.shape[i] = max(0, v.shape[i])
	}
	last, _ := channelsLast(name, v, nodes)
	rows, channels := 2, 1
	if last {
		rows, channels = 1, 3
	}
	if slices.Contains(open, channels) {
		return fmt.Errorf("axis %d of %d, the channels, has no fixed size", channels, len(shape))
	}
	if len(g.free) != 3 {
		return &model.FreeSizeError{Channels: shape[channels]}
	}
	for _, i := range open {
		shape[i] = g.free[1+i-rows]
	}
	return nil
}

// channelsLast reports whether images [N, a, b, c] are N×H×W×C: if they are turned before anything
// takes them for images, or if the last dimension alone is that of channels. Both are worth a note.
func channelsLast(name string, v *value, nodes []*pb.NodeProto) (bool, string) {
	for _, n := range slices.Backward(nodes) {
		if !slices.Contains(n.GetInput(), name) || len(n.GetOutput()) == 0 {
			continue
		}
		switch n.GetOpType() {
		case "Transpose":
			for _, a := range n.GetAttribute() {
				if a.GetName() == "perm" && slices.Equal(a.GetInts(), []int64{0, 3, 1, 2}) {
					return true, fmt.Sprintf("images %v are taken as N×H×W×C, as a Transpose makes N×C×H×W of them", v)
				}
			}
		case "Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "BatchNormalization":
			return false, ""
		case "Add", "Sub", "Mul", "Div", "Cast", "Identity", "Pad", "Clip":
			name = n.GetOutput()[0]
		}
	}
	channels := func(d int) bool { return d == 1 || d == 3 }
	if channels(v.shape[3]) && !channels(v.shape[1]) {
		return true, fmt.Sprintf("images %v are taken as N×H×W×C", v)
	}
	return false, ""
}

// model returns the layers up to the output.
func (g *graph) model(out output) (*model.Model, error) {
	v := g.values[out.name]
	if v == nil || v.c != nil {
		return nil, fmt.Errorf("output %s does not depend on the image", formats.Quote(out.name))
	}
	fail := func(err error) (*model.Model, error) {
		return nil, fmt.Errorf("output %s: %w", formats.Quote(out.name), err)
	}
	v, err := g.settle(v)
	if err != nil {
		return fail(err)
	}
	if out.softmax != nil {
		if err := g.checkSoftmax(out.softmax, v); err != nil {
			return nil, fmt.Errorf("%s %s: %w", formats.Quote(opName(out.softmax)), formats.Quote(nodeName(out.softmax)), err)
		}
	}
	if v.batch >= 0 && v.shape[v.batch] != 1 {
		return fail(fmt.Errorf("is %v, where images cannot be told from numbers", v))
	}
	if v.batch > 0 && formats.Volume(v.shape[:v.batch]) > 1 {
		g.notes = append(g.notes, fmt.Sprintf("its output %s is %v: the images are its axis %d, and not its first", formats.Quote(out.name), v, v.batch))
	}
	if v.volume() == 1 { // a score of one class against another
		if out.squashed == "" {
			return fail(errors.New("one number for each image, want scores of classes"))
		}
		g.notes = append(g.notes, fmt.Sprintf("its one output y is taken for the logits [0, y]: class 1 is above %s", out.half))
		places := []int32{-1, v.places()[0]}
		v = &value{shape: []int{2}, batch: -1, src: v.src, idx: places}
	}
	last, err := g.flat(v)
	if err != nil {
		return fail(err)
	}
	if last < 0 {
		return nil, fmt.Errorf("output %s is the image itself", formats.Quote(out.name))
	}
	// What the output does not need goes.
	keep := make([]bool, len(g.steps))
	keep[last] = true
	reached := false
	for i := last; i >= 0; i-- {
		for _, j := range g.steps[i].from {
			if keep[i] && j >= 0 {
				keep[j] = true
			}
			reached = reached || keep[i] && j < 0
		}
	}
	if !reached {
		return nil, fmt.Errorf("output %s does not depend on the image", formats.Quote(out.name))
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
			l.Name, l.Bias = s.name, biasFor(l.Weight, s.bias)
			m.Layers = append(m.Layers, l)
		case model.Conv2D:
			l.Name, l.Bias = s.name, biasFor(l.Weight, s.bias)
			m.Layers = append(m.Layers, l)
		case model.Scale:
			m.Layers = append(m.Layers, scaleOf(s))
		case model.Constant:
			l.Name = s.name
			m.Layers = append(m.Layers, l)
		default:
			m.Layers = append(m.Layers, l)
		}
	}
	if chain {
		m.From = nil
	}
	return m, nil
}

// flat returns a layer whose numbers are v's as they lie.
func (g *graph) flat(v *value) (int, error) {
	if len(v.src) == 1 && v.volume() == formats.Volume(g.shape(v.src[0])) {
		same := true
		for k, i := range v.idx {
			same = same && int(i) == k
		}
		if same {
			return v.src[0], nil
		}
	}
	// A Linear of [I] has no rows and columns, nor have logits.
	places := slices.Clone(v.places())
	return g.append(step{layer: model.Arrange{Dims: []int{len(places)}, Index: places}, from: v.src})
}

// checkSoftmax returns an error unless n runs over the classes of one image.
func (g *graph) checkSoftmax(n *pb.NodeProto, v *value) error {
	at := int64(-1)
	if g.opset < 13 {
		at = 1
	}
	for _, a := range n.GetAttribute() {
		if a.GetName() == "axis" {
			at = a.GetI()
		}
	}
	if at < 0 {
		at += int64(len(v.shape))
	}
	for i, s := range v.shape {
		if s > 1 && int64(i) != at && (g.opset >= 13 || int64(i) < at) || i == v.batch && int64(i) >= at && (g.opset < 13 || int64(i) == at) {
			return fmt.Errorf("over axis %d of %v, want over the classes", at, v)
		}
	}
	return nil
}

// scaleOf returns the Scale of a step. Its numbers are often computed, as of batch normalisation,
// and are rounded only where that changes none.
func scaleOf(s step) model.Scale {
	if exact(s.weight) && exact(s.bias) {
		return model.Scale{Name: s.name, Weight: narrow(s.weight, len(s.weight)), Bias: narrow(s.bias, len(s.bias))}
	}
	return model.Scale{Name: s.name, Weight: formats.Dense(s.weight, len(s.weight)), Bias: formats.Dense(s.bias, len(s.bias))}
}

// biasFor returns a bias of the type of weights.
func biasFor(w *tensor.Dense, bias []float64) *tensor.Dense {
	if w.Dtype() == tensor.Float64 {
		return formats.Dense(bias, len(bias))
	}
	return narrow(bias, len(bias))
}

// exact reports whether all of data are numbers of float32.
func exact(data []float64) bool {
	return !slices.ContainsFunc(data, func(x float64) bool { return float64(float32(x)) != x })
}

// narrow returns data as a tensor of float32.
func narrow(data []float64, shape ...int) *tensor.Dense {
	single := make([]float32, len(data))
	for i, v := range data {
		single[i] = float32(v)
	}
	return formats.Dense(single, shape...)
}

// dense returns a tensor of the type of the model's weights, or of float64 for numbers that were
// computed and are none of float32. Numbers that round to infinity are found by validate.
func (g *graph) dense(data []float64, shape ...int) *tensor.Dense {
	if g.double || !exact(data) {
		return formats.Dense(data, shape...)
	}
	return narrow(data, shape...)
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
		if j >= 0 {
			g.steps[j].taken = true
		}
	}
	var err error
	if s.shape, err = s.layer.Shape(in); err != nil {
		return 0, err
	}
	if formats.Volume(s.shape) > formats.MaxElements {
		return 0, fmt.Errorf("output %v, want at most %d elements", s.shape, formats.MaxElements)
	}
	width := 4
	if g.double {
		width = 8
	}
	if err := g.memory.Take(formats.Volume(s.shape), width); err != nil {
		return 0, err
	}
	if len(g.steps) == maxSteps {
		return 0, fmt.Errorf("more than %d layers", maxSteps)
	}
	g.steps = append(g.steps, s)
	return len(g.steps) - 1, nil
}

// maxSteps is far above what any classifier takes.
const maxSteps = 1 << 17

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
