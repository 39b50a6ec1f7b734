// Package filekind tells what a file is that a reader does not read, and what to do with it. It is
// the one judge of that, for files of models and of images. Readers ask it once they have failed,
// so that it never stands in the way of a file that can be read.
package filekind

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// start is how many bytes from the beginning of a file are looked at.
const start = 512

// A Kind is a kind of file.
type Kind struct {
	Name string // "a TFLite model"
	// Model and Data say what to do with such a file that was given as a model, and as images. "":
	// it is read, so the reader knows better what is wrong with it.
	Model, Data string
}

// What many kinds have in common.
const (
	exportKeras = "in Python, load it and write model.export('model.onnx', format='onnx')"
	exportTorch = "in Python, write torch.onnx.export(model, image, 'model.onnx'), or the weights of an MLP with save_file(model.state_dict(), 'model.safetensors') of safetensors.torch"
	noImages    = "it holds no images that are read here"
	saveArrays  = "in Python, save images and labels with numpy.savez"
	unpack      = "unpack it first"
	pair        = "give it as the images or as the labels, with a second file for the others"
	picture     = "give its folder, with a labels.csv in it or with a folder for each class"
	convert     = "convert it to PNG"
	noModel     = "it is no model"
)

// kinds are told by bytes at an offset, the first that fits.
var kinds = []struct {
	at    int
	magic string
	Kind
}{
	{0, "version https://git-lfs", Kind{"a Git LFS pointer", "the file itself comes with git lfs pull", "the file itself comes with git lfs pull"}},
	{4, "TFL3", Kind{"a TFLite model", "python -m tf2onnx.convert --tflite FILE --output model.onnx makes ONNX of it", noImages}},
	{0, "\x89HDF\r\n\x1a\n", Kind{"an HDF5 file", "if it is a Keras model, " + exportKeras, saveArrays}},
	{0, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", Kind{"a file of torch.save", "pickled programs are not run: " + exportTorch, "pickled programs are not run: " + saveArrays}},
	{0, "\x80\x02", pickle},
	{0, "\x80\x03", pickle},
	{0, "\x80\x04", pickle},
	{0, "\x80\x05", pickle},
	{0, "\x1f\x8b", Kind{"a gzip file", unpack, "of IDX, images and labels are two files: give both; else " + unpack}},
	{0, "BZh", Kind{"a bzip2 file", unpack, unpack}},
	{0, "\xfd7zXZ\x00", Kind{"an xz file", unpack, unpack}},
	{0, "\x28\xb5\x2f\xfd", Kind{"a Zstandard file", unpack, unpack}},
	{0, "7z\xbc\xaf\x27\x1c", Kind{"a 7z archive", unpack, unpack}},
	{0, "Rar!\x1a\x07", Kind{"a RAR archive", unpack, unpack}},
	{257, "ustar", Kind{"a tar archive", unpack, unpack}},
	{0, "\x93NUMPY", Kind{"an NPY file, of one array", "a model is an NPZ file with arrays NAME.weight and NAME.bias", pair}},
	{0, "\x00\x00\x08", Kind{"an IDX file, of one array", noModel, pair}},
	{0, "\x89PNG\r\n\x1a\n", Kind{"a PNG image", noModel, picture}},
	{0, "\xff\xd8\xff", Kind{"a JPEG image", noModel, picture}},
	{0, "GIF8", Kind{"a GIF image", noModel, convert}},
	{0, "BM", Kind{"a BMP image", noModel, picture}},
	{0, "II*\x00", Kind{"a TIFF image", noModel, convert}},
	{0, "MM\x00*", Kind{"a TIFF image", noModel, convert}},
	{8, "WEBP", Kind{"a WebP image", noModel, picture}},
	{0, "%PDF", Kind{"a PDF file", noModel, noImages}},
	{0, "PAR1", Kind{"a Parquet file", noModel, saveArrays}},
	{0, "ARROW1", Kind{"an Arrow file", noModel, saveArrays}},
	{0, "MATLAB 5.0", Kind{"a MATLAB file", "export the network with exportONNXNetwork", saveArrays}},
	{0, "GGUF", Kind{"a GGUF file", "it holds no image classifier that is read here", noImages}},
	{0, "\x7fELF", Kind{"a program", noModel, noImages}},
	{0, "PK\x03\x04", zipped},
	{0, "PK\x05\x06", Kind{"an empty zip archive", noModel, noImages}},
}

var (
	pickle = Kind{"a Python pickle", "pickled programs are not run: export the model to ONNX, or save weights with safetensors", "of CIFAR, give its folder; else pickled programs are not run: " + saveArrays}
	zipped = Kind{"a zip archive", "unpack it and name the model in it", unpack}
	broken = Kind{"a zip archive that is cut off or damaged", "was it written, or downloaded, to the end?", "was it written, or downloaded, to the end?"}
	html   = Kind{"an HTML page", "the download gave a page instead of the file: take the link of the file itself", "the download gave a page instead of the file: take the link of the file itself"}
	xml    = Kind{"an XML file", "if it is an OpenVINO model, give the ONNX file that it was made of", noImages}
	json   = Kind{"a JSON file", "it tells of a model at most: give the file of its weights, ONNX, safetensors or NPZ", saveArrays}
	text   = Kind{"a text file", noModel, saveArrays}
	empty  = Kind{"an empty file", "was it written to the end?", "was it written to the end?"}
)

// IsText reports whether k is any text of some form, which a reader of text knows better.
func (k Kind) IsText() bool { return k == xml || k == json || k == text }

// Of tells what a file of size bytes is, by its first bytes and, of a zip archive, by the names in
// it. ok is false where it does not know.
func Of(r io.ReaderAt, size int64) (k Kind, ok bool) {
	head := make([]byte, min(start, max(0, size)))
	if n, err := r.ReadAt(head, 0); err != nil && n < len(head) {
		return Kind{}, false
	}
	if k, ok = at(head); !ok || k != zipped {
		return k, ok
	}
	z, err := zip.NewReader(r, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // nothing is unpacked
		return broken, true
	}
	var names []string
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	return inZip(names), true
}

// at tells what a file is by its first bytes, or all of a shorter file.
func at(start []byte) (k Kind, ok bool) {
	if len(start) == 0 {
		return empty, true
	}
	for _, one := range kinds {
		if len(start) >= one.at+len(one.magic) && string(start[one.at:one.at+len(one.magic)]) == one.magic {
			return one.Kind, true
		}
	}
	trimmed := bytes.TrimLeft(bytes.TrimPrefix(start, []byte("\xef\xbb\xbf")), " \t\r\n")
	lower := bytes.ToLower(trimmed)
	switch {
	case !isText(start):
		return Kind{}, false
	case bytes.HasPrefix(lower, []byte("<!doctype html")), bytes.HasPrefix(lower, []byte("<html")):
		return html, true
	case bytes.HasPrefix(lower, []byte("<?xml")):
		if bytes.Contains(lower, []byte("<html")) {
			return html, true
		}
		return xml, true
	case bytes.HasPrefix(trimmed, []byte("{")), bytes.HasPrefix(trimmed, []byte("[")):
		return json, true
	}
	return text, true
}

// isText reports whether start is text in UTF-8: a rune may be cut at its end.
func isText(start []byte) bool {
	for len(start) > 0 {
		r, size := utf8.DecodeRune(start)
		switch {
		case r == utf8.RuneError && size == 1:
			return len(start) < utf8.UTFMax && !utf8.FullRune(start)
		case r < ' ' && r != '\t' && r != '\n' && r != '\r' && r != '\f':
			return false
		}
		start = start[size:]
	}
	return true
}

// archives are kinds of zip archives, told by an entry whose name ends so, the first that fits.
var archives = []struct {
	suffix string
	Kind
}{
	{".npy", Kind{"an NPZ file", "", ""}}, // which is read
	{"/constants.pkl", Kind{"a TorchScript module", "in Python, load the module that it was made of and write torch.onnx.export(model, image, 'model.onnx')", noImages}},
	{"data.pkl", Kind{"a file of torch.save", "pickled programs are not run: " + exportTorch, "pickled programs are not run: " + saveArrays}},
	{"model.weights.h5", Kind{"a Keras model", exportKeras, noImages}},
	{".mlmodel", Kind{"a Core ML model", "export the model that it was made of to ONNX", noImages}},
	{"xl/workbook.xml", Kind{"an Excel workbook", noModel, saveArrays}},
	{".onnx", Kind{"a zip archive of an ONNX model", "unpack it and name the .onnx file", noImages}},
	{".safetensors", Kind{"a zip archive of safetensors", "unpack it and name the .safetensors file", noImages}},
	{"saved_model.pb", SavedModel},
	{".png", Kind{"a zip archive of PNG images", noModel, unpack + ", and give the folder"}},
	{".jpg", Kind{"a zip archive of JPEG images", noModel, unpack + ", and give the folder"}},
}

// inZip tells what a zip archive with entries of these names is.
func inZip(names []string) Kind {
	for _, one := range archives {
		for _, n := range names {
			if strings.HasSuffix(n, one.suffix) || "/"+n == one.suffix {
				return one.Kind
			}
		}
	}
	return zipped
}

// SavedModel is a folder of TensorFlow's, told by a file saved_model.pb in it.
var SavedModel = Kind{"a TensorFlow SavedModel", "python -m tf2onnx.convert --saved-model DIR --output model.onnx makes ONNX of it", noImages}
