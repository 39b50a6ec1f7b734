package backend

import "fmt"

// A DeepError says that the exact curve of a model takes too many points of a ray.
type DeepError struct {
	Image  int // in the data set
	Points int // that were looked at
}

func (e *DeepError) Error() string {
	return fmt.Sprintf("image %d: its ray is not decided after %d points, so the model is too deep for an exact curve", e.Image, e.Points)
}
