#!/usr/bin/env bash
# The same sweeps with the kernels of every instruction set that can be run here, amd64's and, under qemu-aarch64, arm64's: every data
# file must be the same, byte for byte, and so must the multiply-adds that run.json counts. Pictures are compared too, but libraries draw them, in which arm64 fuses products and sums: where they
# differ that is only told. On a processor whose compiler does not fuse, the plain Go kernel rounds products; that it differs is wanted, for
# else the sweeps would say too little, and pipeline.Fingerprint tells.
#
# N is how many images (3); KEEP a folder that keeps the files. Takes about two minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
N=${N:-3}
out=${KEEP:-$(mktemp -d)}
[ -n "${KEEP:-}" ] || trap 'rm -rf "$out"' EXIT
mkdir -p "$out"

host=$(go env GOHOSTARCH)
declare -A program
for arch in amd64 arm64; do
	GOOS=linux GOARCH=$arch CGO_ENABLED=0 go build -trimpath -o "$out/advsweep-$arch" ./cmd/advsweep
	if [ "$arch" = "$host" ]; then
		program[$arch]="$out/advsweep-$arch"
	elif emulator=$(command -v "qemu-$([ $arch = arm64 ] && echo aarch64 || echo x86_64)"); then
		program[$arch]="$emulator $out/advsweep-$arch"
	else
		echo "$arch is not compared: no emulator here (Debian's qemu-user)"
	fi
done

# What our own code leaves to the compiler to fuse: only the plain Go kernel, whose meaning that is, the float64 truth of tests, and
# drawing.
fused=$(go tool objdump -s '^advsweep/' "$out/advsweep-arm64" |
	awk '/^TEXT/ { name = $2 } $4 ~ /^F(N?M(ADD|SUB))[SD]$/ { print name, $1 }' | sed 's/\[go.shape[^]]*\]//' | sort -u |
	grep -vE ' (generic|plot|compare_plot|svg|picture|html|dashboard)\.go:|^advsweep/internal/ref\.' || true)
if [ -n "$fused" ]; then
	echo "products that arm64 fuses with a sum, and amd64 does not; write T(a*b) + c:"
	echo "$fused"
	exit 1
fi

attacks=fgsm,bim:steps=3,pgd:steps=3:restarts=2,mifgsm:steps=3,apgd-ce:steps=4,apgd-dlr:steps=4,pgd:steps=3:norm=l2,noise,uniform
runs() { # PROGRAM FOLDER: all sweeps
	for model in mlp cnn; do
		for precision in float32 float64; do
			for bounds in none 0,1; do
				$1 sweep --backend cpu --quiet --model $model --n "$N" --offset 100 --eps 0,0.03,0.12 --attack "$attacks" --bounds $bounds \
					--precision $precision --out "$2/$model-$precision-$bounds" >"$2/$model-$precision-$bounds.txt"
				grep multiply_adds "$2/$model-$precision-$bounds/run.json" >"$2/$model-$precision-$bounds/counts.txt"
			done
		done
	done
}

reference=
failed=0
for arch in $host $([ "$host" = amd64 ] && echo arm64 || echo amd64); do
	[ -n "${program[$arch]:-}" ] || continue
	kernels=$(${program[$arch]} devices | sed -n 's/^cpu .*kernels: \([a-z0-9, ]*[a-z0-9]\).*/\1/p' | tr -d ,)
	[ -n "$kernels" ]
	for kernel in $kernels; do
		folder=$out/$arch-$kernel start=$SECONDS
		mkdir -p "$folder"
		ADVSWEEP_KERNEL=$kernel runs "${program[$arch]}" "$folder"
		if [ -z "$reference" ]; then
			reference=$folder
			echo "$arch $kernel: what the others are compared with ($((SECONDS - start)) s)"
			continue
		fi
		same=0 other=() drawn=()
		for file in "$reference"/*/{manifest.json,chunks.log,curve.csv,curve.json,images.csv,classes.csv,counts.txt,curve.png,curve.svg}; do
			if cmp -s "$file" "$folder/${file#"$reference"/}"; then
				same=$((same + 1))
			else
				case $file in
				*.png | *.svg) drawn+=("${file#"$reference"/}") ;;
				*) other+=("${file#"$reference"/}") ;;
				esac
			fi
		done
		echo "$arch $kernel: $same files the same, ${#other[@]} data files and ${#drawn[@]} pictures differ ($((SECONDS - start)) s)"
		[ ${#drawn[@]} = 0 ] || printf '  picture %s\n' "${drawn[@]}"
		if [ "$arch-$kernel" = amd64-go ]; then
			[ ${#other[@]} -gt 0 ] || { echo "  the plain Go kernel rounds products here: some must differ"; failed=1; }
		elif [ ${#other[@]} -gt 0 ]; then
			printf '  differs: %s\n' "${other[@]}"
			failed=1
		fi
	done
done
exit $failed
