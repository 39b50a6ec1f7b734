package main

// Formats of models that package model does not read by itself.
import _ "advsweep/model/onnx"
