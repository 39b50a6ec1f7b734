package remedy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"
)

// TestNeeds wants every constant to be in Needs: tests of hints go through that list.
func TestNeeds(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "remedy.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	constants := 0
	for _, d := range file.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
			constants += len(g.Specs)
		}
	}
	seen := map[Need]bool{}
	for _, n := range Needs {
		seen[n] = true
	}
	if constants == 0 || len(seen) != constants {
		t.Errorf("%d needs are listed, want %d", len(seen), constants)
	}
}
