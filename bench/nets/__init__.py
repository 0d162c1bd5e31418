"""Networks of the literature in plain torch, for benches, examples and tests; one file for each family."""

from bench.nets.densenet import DenseNet121
from bench.nets.efficientnet import EfficientNetB0, EfficientNetB3
from bench.nets.googlenet import GoogLeNet
from bench.nets.inception_v3 import InceptionV3
from bench.nets.lenet import LeNet5, LeNet300
from bench.nets.mobilenet import MobileNetV1, MobileNetV2, MobileNetV3Large, MobileNetV3Small
from bench.nets.random_init import randomize
from bench.nets.resnet import ResNet18, ResNet50
from bench.nets.resnet_cifar import ResNet20, ResNet56, ResNetCifar
from bench.nets.shufflenet import ShuffleNetV2
from bench.nets.squeezenet import SqueezeNetV1_0, SqueezeNetV1_1
from bench.nets.unet import UNet
from bench.nets.vgg import VGG16

__all__ = [
    "VGG16",
    "DenseNet121",
    "EfficientNetB0",
    "EfficientNetB3",
    "GoogLeNet",
    "InceptionV3",
    "LeNet5",
    "LeNet300",
    "MobileNetV1",
    "MobileNetV2",
    "MobileNetV3Large",
    "MobileNetV3Small",
    "ResNet18",
    "ResNet20",
    "ResNet50",
    "ResNet56",
    "ResNetCifar",
    "ShuffleNetV2",
    "SqueezeNetV1_0",
    "SqueezeNetV1_1",
    "UNet",
    "randomize",
]
