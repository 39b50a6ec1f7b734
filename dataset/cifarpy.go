package dataset

import (
	"fmt"
	"io"
	"strings"
)

var cifar10Py = cifar{
	name: "CIFAR-10", dirs: []string{".", "cifar-10-batches-py"}, labels: 1, classes: cifarClasses, number: 10, key: "labels",
	files: func(split string) []string {
		names := cifarNames(split)
		for i := range names {
			names[i] = strings.TrimSuffix(names[i], ".bin")
		}
		return names
	},
}

var cifar10Python = folderFormat{
	Format: Format{
		Name:  "CIFAR-10, Python",
		Files: "test_batch, or data_batch_1 to data_batch_5",
		Holds: "pickles, which are read and not run; also in cifar-10-batches-py/ below the folder, where torchvision unpacks them",
	},
	found: cifar10Py.found, read: cifar10Py.readPython, unpack: cifar10Py.has,
}

var cifar100Py = cifar{
	name: "CIFAR-100", dirs: []string{"cifar-100-python", "."}, labels: 1, classes: cifar100Classes, number: 100, key: "fine_labels",
	files: func(split string) []string { return []string{split} },
}

var cifar100Python = folderFormat{
	Format: Format{
		Name:  "CIFAR-100, Python",
		Files: "test, or train",
		Holds: "pickles, which are read and not run, and of them the fine labels; also in cifar-100-python/ below the folder",
	},
	// A folder of pictures has folders of these names.
	found: func(d *folder, split string) string {
		name := cifar100Py.found(d, split)
		if name != "" && d.isDir(name) {
			return ""
		}
		return name
	},
	read: cifar100Py.readPython, unpack: cifar100Py.has,
}

func (c *cifar) readPython(d *folder, q *Query, found string) (*Stored, error) {
	return c.read(d, q, found, func(r io.Reader, size int64, pixels []byte, labels []int32) ([]byte, []int32, error) {
		return readCIFARPickle(c, r, size, pixels, labels)
	})
}

// readCIFARPickle appends the images of a pickled dict, "data" of uint8 [N, 3072] and a list of
// labels, to pixels and labels.
func readCIFARPickle(c *cifar, r io.Reader, size int64, pixels []byte, labels []int32) ([]byte, []int32, error) {
	data, err := io.ReadAll(io.LimitReader(r, size+1))
	if err != nil {
		return nil, nil, err
	}
	v, err := readPickle(data)
	if err != nil {
		return nil, nil, fmt.Errorf("pickle: %w: a batch can be saved for NumPy: numpy.savez('test.npz', x_test=d[b'data'].reshape(-1, 3, 32, 32), y_test=d[b'%s'])", err, c.key)
	}
	dict, ok := v.(*pickleDict)
	if !ok {
		return nil, nil, fmt.Errorf("pickle of %s, want a dict with data and %s", pickleName(v), c.key)
	}
	images, ok := dict.get("data").(*pickleArray)
	if !ok || images.descr != "u1" || len(images.shape) != 2 || images.shape[1] != cifarPixels || images.fortran {
		return nil, nil, fmt.Errorf("pickle: data is %s, want an array of uint8 [N, %d]", pickleName(dict.get("data")), cifarPixels)
	}
	list, ok := dict.get(c.key).(*pickleList)
	if !ok || len(list.items) != images.shape[0] || len(list.items) == 0 {
		return nil, nil, fmt.Errorf("pickle: %s is %s, want a list of %d labels", c.key, pickleName(dict.get(c.key)), images.shape[0])
	}
	for i, item := range list.items {
		label, ok := item.(int64)
		if !ok || label < 0 || label >= int64(c.number) {
			return nil, nil, fmt.Errorf("image %d: label %s, want 0 to %d of %s", i, pickleName(item), c.number-1, c.name)
		}
		labels = append(labels, int32(label))
	}
	return append(pixels, images.data...), labels, nil
}
