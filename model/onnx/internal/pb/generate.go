// Package pb is the ONNX format as Go types, generated from its published schema.
//
// onnx.proto is that of the Python package onnx 1.23.2, unchanged: Apache License 2.0, as its SPDX
// line says. onnx.pb.go is made from it by protoc 3.21.12 (Debian's protobuf-compiler) and the
// protoc-gen-go of the module google.golang.org/protobuf in go.mod.
package pb

//go:generate go build -o protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go
//go:generate protoc --plugin=./protoc-gen-go --go_out=. --go_opt=paths=source_relative --go_opt=Monnx.proto=advsweep/model/onnx/internal/pb onnx.proto
//go:generate rm protoc-gen-go
