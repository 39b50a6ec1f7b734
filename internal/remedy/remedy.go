// Package remedy lets an error say which setting mends it, so that a program can name that setting
// as its users know it.
package remedy

// A Need is a setting that a user can change.
type Need string

// What errors ask for.
const (
	Folder     Need = "another folder for results"
	Mixed      Need = "leave to mix results of different bits"
	ServeMixed Need = "leave of the server to mix results of different bits"
	Credential Need = "a credential"
	Authority  Need = "the certificate of who signed the server's"
	TLS        Need = "a certificate and a key of the server"
	Cache      Need = "a folder for models and images"
	Study      Need = "one study of several"
	Store      Need = "a larger store"
	Listen     Need = "another address to listen on"
	External   Need = "a server that exists"
	AckWait    Need = "another time to wait for a worker"
	Attempts   Need = "another number of tries"
	Verify     Need = "another fraction to verify"

	PixelMax      Need = "the number that is white"
	Layout        Need = "the order of an array's dimensions"
	Flat          Need = "the order in which a flat model takes channels"
	Keys          Need = "the names of arrays or columns"
	Alpha         Need = "what becomes of transparency"
	GreyToRGB     Need = "grey images as RGB"
	RGBToGrey     Need = "RGB images as grey"
	ImageSize     Need = "images of another size"
	ColourAndSize Need = "images of other channels and another size"

	Output Need = "the output that holds the logits"
)

// Needs lists them all.
var Needs = []Need{Folder, Mixed, ServeMixed, Credential, Authority, TLS, Cache, Study, Store, Listen, External, AckWait, Attempts, Verify,
	PixelMax, Layout, Flat, Keys, Alpha, GreyToRGB, RGBToGrey, ImageSize, ColourAndSize, Output}

// An Error is an error that a setting mends. Its text is that of Err.
type Error struct {
	Err  error
	Need Need
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Want returns err with what mends it.
func Want(need Need, err error) error { return &Error{err, need} }
