"""What is timed on convolutional networks. One table for both sides: our command's flags and the peer's numbers are made from a row."""
import dataclasses
from fractions import Fraction

CLIP = ["--bounds", "0,1"]


@dataclasses.dataclass
class Work:
    title: str    # what a reader calls it
    network: str  # of networks.py
    n: int        # images
    k: int        # steps of eps/k, the gradient taken at each, no random start; 1 is FGSM; 0: the logits alone
    eps: str      # lo:hi:step, as of the command
    side: int = 32
    batch: int = 0  # images that the peer takes at once; 0: all

    def shape(self):
        return (1 if self.network == "cnn" else 3, self.side, self.side)

    def files(self):
        """The names of the files of the model and of the images. Labels may go by the model."""
        return f"{self.network}.onnx", f"{self.network}-{self.n}.npz"

    def grid(self):
        """The eps, each the float64 nearest to its decimal, as the command reads them."""
        lo, hi, step = map(Fraction, self.eps.split(":"))
        return [float(lo + i * step) for i in range(int((hi - lo) / step) + 1)]

    def flags(self, model, data):
        attack = ["--attack", "fgsm"] if self.k == 1 else ["--attack", "bim", "--steps", str(self.k)]
        return ["--model", model, "--data", data, *attack, "--n", str(self.n), "--eps", self.eps, *CLIP]


THREE, TEN = "0.01:0.03:0.01", "0.004:0.04:0.004"
WORKS = {
    "cnn-fgsm": Work("FGSM on a CNN, 1,000 images, 21 eps", "cnn", 1000, 1, "0:0.5:0.025", 28, 250),
    "cnn-bim": Work("BIM k = 5 on a CNN, 1,000 images, 5 eps", "cnn", 1000, 5, "0.05:0.25:0.05", 28, 250),
    "vgg-bim3": Work("BIM k = 5 on a VGG-like network, 32 images of 3×32×32, 3 eps", "vgg", 32, 5, THREE),
    "vgg-bim10": Work("BIM k = 5 on a VGG-like network, 32 images of 3×32×32, 10 eps", "vgg", 32, 5, TEN),
    "resnet18-fgsm": Work("FGSM on ResNet-18, 16 images of 3×32×32, 21 eps", "resnet18", 16, 1, "0:0.04:0.002"),
    "resnet18-bim3": Work("BIM k = 5 on ResNet-18, 16 images of 3×32×32, 3 eps", "resnet18", 16, 5, THREE),
    "resnet18-bim10": Work("BIM k = 5 on ResNet-18, 16 images of 3×32×32, 10 eps", "resnet18", 16, 5, TEN),
    "resnet18-224": Work("FGSM on ResNet-18, 8 images of 3×224×224, 3 eps", "resnet18-224", 8, 1, THREE, 224),
    "silu-bim3": Work("BIM k = 5 on PreActResNet-18 with SiLU, 16 images of 3×32×32, 3 eps", "silu", 16, 5, THREE),
    "mobilenet-bim3": Work("BIM k = 5 on a network like MobileNetV2, 32 images of 3×32×32, 3 eps", "mobilenet", 32, 5, THREE),
    "resnet18-forward": Work("ResNet-18, logits of 64 images of 3×32×32", "resnet18", 64, 0, "0:0:1"),
}
