package dataset

var cifar100Binary = cifar{
	name: "CIFAR-100", dirs: []string{".", "cifar-100-binary"}, files: cifar100Names, labels: 2,
	classes: cifar100Classes, number: 100,
}

// Of a record's two labels the first is that of one of 20 superclasses.
var cifar100Format = folderFormat{
	Format: Format{
		Name:  "CIFAR-100, binary",
		Files: "test.bin, or train.bin",
		Holds: "the fine labels; also compressed by gzip, and in cifar-100-binary/ below the folder",
	},
	found: cifar100Binary.found, read: cifar100Binary.readBinary, unpack: cifar100Binary.has,
}

func cifar100Names(split string) []string { return []string{split + ".bin"} }

// cifar100Classes are the names of the fine labels, in their order, as fine_label_names.txt of the
// set has them.
var cifar100Classes = []string{
	"apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
	"bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
	"chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
	"dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
	"lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
	"mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
	"plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket",
	"rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
	"squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
	"train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
}
