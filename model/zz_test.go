package model
import ("testing";"math";"encoding/binary")
func h2[T float32|float64](dst []T, src []byte) int {
	for i := range dst {
		v := T(fromHalf(binary.LittleEndian.Uint16(src)))
		if dst[i] = v; v-v != 0 { return i }
		src = src[2:]
	}
	return -1
}
func h3[T float32|float64](dst []T, src []byte) int {
	var bad uint16
	for i := range dst {
		h := binary.LittleEndian.Uint16(src)
		var v float32
		if e := h&0x7c00; e == 0 { v = fromHalfEdge(h) } else {
		v = math.Float32frombits(uint32(h&0x8000)<<16 | (uint32(h&0x7fff)<<13 + (127-15)<<23)) 
		bad |= (e+0x400)}
		dst[i] = T(v)
		src = src[2:]
	}
	return int(bad>>15)-1
}
func BenchmarkConv(b *testing.B){
 src:=make([]byte,1<<16)
 for i:=range src{ src[i]=byte(i*7)&0x3b|4 }
 d:=make([]float32,1<<15)
 for range 2 {
 b.Run("now",func(b *testing.B){ b.SetBytes(1<<16);for b.Loop(){ if convert(d,src,"F16")>=0{b.Fatal()} } })
 b.Run("h2",func(b *testing.B){ b.SetBytes(1<<16);for b.Loop(){ if h2(d,src)>=0{b.Fatal()} } })
 b.Run("h3",func(b *testing.B){ b.SetBytes(1<<16);for b.Loop(){ if h3(d,src)>=0{b.Fatal()} } })
 }
}
