package attack

import (
	"fmt"
	"slices"
	"strings"
)

// An alias is what papers and other programs call an attack.
type alias struct {
	// names are as plainName makes them.
	names []string
	// item stands for them in a list of attacks. Where missing is set it is what to use meanwhile.
	item string
	// missing is the title of an attack that there is not; empty where item is the attack.
	missing string
}

// aliases are the names of Foolbox, torchattacks, ART and CleverHans, and of the papers. The name
// of a kind comes first, also of one that a program registers. Results have the kind's name.
//
// A name that says a norm, such as PGDL2, has it as an option of its own; FGM is L2 in Foolbox and
// in labels here. Auto-PGD without a loss is that of cross-entropy, as in torchattacks.
var aliases = []alias{
	{[]string{"fastgradientsignmethod", "fastgradientmethod"}, "fgsm", ""},
	{[]string{"linffastgradientattack"}, "fgsm:norm=linf", ""},
	{[]string{"fgm", "l2fastgradientattack"}, "fgsm:norm=l2", ""},
	{[]string{"ifgsm", "basiciterativemethod", "iterativefgsm"}, "bim", ""},
	{[]string{"linfbasiciterativeattack"}, "bim:norm=linf", ""},
	{[]string{"ifgm", "l2basiciterativeattack"}, "bim:norm=l2", ""},
	{[]string{"projectedgradientdescent", "madryetal"}, "pgd", ""},
	{[]string{"linfpgd", "pgdlinf", "linfprojectedgradientdescentattack"}, "pgd:norm=linf", ""},
	{[]string{"l2pgd", "pgdl2", "l2projectedgradientdescentattack"}, "pgd:norm=l2", ""},
	{[]string{"mim", "momentumiterativemethod"}, "mifgsm", ""},
	{[]string{"linfmomentumiterativefastgradientmethod"}, "mifgsm:norm=linf", ""},
	{[]string{"l2momentumiterativefastgradientmethod"}, "mifgsm:norm=l2", ""},
	{[]string{"nim"}, "nifgsm", ""},
	{[]string{"apgd", "autopgd", "autoprojectedgradientdescent"}, "apgd-ce", ""},
	{[]string{"squareattack"}, "square", ""},
	{[]string{"fabattack"}, "fab", ""},
	{[]string{"ddnattack"}, "ddn", ""},
	{[]string{"linffmnattack"}, "fmn:norm=linf", ""},
	{[]string{"l2fmnattack"}, "fmn:norm=l2", ""},
	{[]string{"l1fmnattack"}, "fmn:norm=l1", ""},
	{[]string{"l0fmnattack"}, "fmn:norm=l0", ""},
	{[]string{"σzero"}, "sigma-zero", ""},
	{[]string{"linfdeepfoolattack"}, "deepfool:norm=linf", ""},
	{[]string{"l2deepfoolattack"}, "deepfool:norm=l2", ""},
	{[]string{"linfadditiveuniformnoiseattack"}, "uniform:norm=linf", ""},
	{[]string{"aa", "autoattackstandard"}, "autoattack", ""},
	{[]string{"aaplus"}, "autoattack-plus", ""},
	{[]string{"aarand", "autoattackrand"}, "autoattack", "AutoAttack for models that draw at random"},
	{[]string{"cw", "cwl2", "carlinil2method", "l2carliniwagnerattack"}, "carlini-wagner", ""},
	{[]string{"hsja", "hopskipjumpattack"}, "hopskipjump", ""},
	{[]string{"boundary", "boundaryattack"}, "hopskipjump", "Boundary Attack"},
}

// plainName is a name without case, "-", "_" and ".": they are what programs write differently.
func plainName(name string) string {
	return strings.NewReplacer("-", "", "_", "", ".", "").Replace(strings.ToLower(name))
}

// canonical returns an item of a list under the name of its kind: "pgd:norm=l2:steps=20" of
// "PGDL2:steps=20". It returns an error that names the item's kind if nothing is called so, or if
// it is the name of an attack that there is not.
func canonical(item string) (string, error) {
	kind, options, some := strings.Cut(item, ":")
	if some {
		options = ":" + options
	}
	if byName[kind] != nil {
		return item, nil
	}
	plain := plainName(kind)
	for _, name := range Names {
		if plainName(name) == plain {
			return name + options, nil
		}
	}
	for _, a := range aliases {
		switch {
		case !slices.Contains(a.names, plain):
		case a.missing != "":
			return "", a.lacking(kind)
		default:
			return a.item + options, nil
		}
	}
	_, err := MethodOf(kind)
	return "", err
}

// lacking is the error of an attack that there is not, which was called name.
func (a alias) lacking(name string) error {
	m, err := MethodOf(a.item)
	if err != nil {
		return err
	}
	return fmt.Errorf("attack: %s: there is no %s here yet; meanwhile use %s: %s", name, a.missing, a.item, m.Facts().About)
}
