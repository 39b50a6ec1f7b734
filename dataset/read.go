package dataset

// Read returns the images of one file with the labels of another. Each is IDX or NPY; its first
// bytes say which. It returns an error that names the file and the fault if a file is not one whole
// array, from end to end, or if there are not as many labels as images.
//
// IDX is unsigned bytes, plain or compressed by gzip, images [N, H, W], [N, C, H, W], [N, H, W, C]
// or [N, I], labels [N]. NPY images have these shapes and any of NumPy's integers, floats and
// booleans: integers from 0 to 255 are bytes, where v is the pixel v/255, and other numbers are the
// pixels themselves, rounded to float32. NPY labels are integers, [N] or [N, 1]. Either may be in C
// or Fortran order, and of either byte order.
//
// If there are four dimensions, the channels are the second or the last, whichever is 1, 3 or 4. It
// is an error if both are, or neither. Open asks the model, too.
//
// Labels are not compared with a number of classes: see Set.Check.
func Read(imagesPath, labelsPath string) (*Set, error) {
	return read(Query{Images: imagesPath, Labels: labelsPath})
}

// Load returns the images and labels of a split, "test" or "train", of a data set: a folder or a
// file of one of Formats.
//
// Arrays that name no split are a test set. If they were a training set too, a model would be
// tested on the images that it has learned. The same goes for pictures, unless there are folders
// named test and train.
//
// Images are as Read gives them. Load sets Source.Name and Classes where the files tell them. It
// knows CIFAR-10 and CIFAR-100 by the names of their files. It knows Fashion-MNIST by the SHA-256
// of the published .gz files or, if a copy has other bytes, by "fashion" in the name of the folder
// or of the folder around it.
//
// An error names the file and the fault. If no data set is found it says what is there and what
// Load tried, and wraps fs.ErrNotExist. A folder that holds two of the formats is an error.
func Load(path, split string) (*Set, error) { return read(Query{Path: path, Split: split}) }

func read(q Query) (*Set, error) {
	s, err := Open(q)
	if err != nil {
		return nil, err
	}
	return s.For(nil)
}
