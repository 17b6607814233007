// Trim-linters leaves only those linters in golangci-lint's source that our configuration enables: compiling all of its
// linters takes minutes. Usage: go run .ci/trim-linters.go CONFIGURATION SOURCE-FOLDER
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: go run .ci/trim-linters.go .golangci.yml SOURCE-FOLDER")
		os.Exit(2)
	}
	if err := trim(os.Args[1], filepath.Join(os.Args[2], "pkg/lint/lintersdb/builder_linter.go")); err != nil {
		fmt.Fprintln(os.Stderr, "trimming golangci-lint:", err)
		os.Exit(1)
	}
}

// trim rewrites the file that lists the linters. Each is a package imported and one element of a slice.
func trim(config, list string) error {
	names, err := enabled(config)
	if err != nil {
		return err
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, list, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dropped := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GenDecl:
			n.Specs = slices.DeleteFunc(n.Specs, func(s ast.Spec) bool { return drop(s, names, dropped) })
		case *ast.CompositeLit:
			n.Elts = slices.DeleteFunc(n.Elts, func(e ast.Expr) bool { return uses(e, dropped) })
		case *ast.BlockStmt:
			n.List = useVariables(n.List)
		}
		return true
	})
	var out bytes.Buffer
	if err := format.Node(&out, files, file); err != nil {
		return err
	}
	return os.WriteFile(list, out.Bytes(), 0o600)
}

// The linters enabled are the items of the first such list in the configuration.
var enableList = regexp.MustCompile(`(?m)^ +enable:\n((?: +- [a-z0-9]+\n)+)`)

func enabled(config string) ([]string, error) {
	text, err := os.ReadFile(config)
	if err != nil {
		return nil, err
	}
	found := enableList.FindSubmatch(text)
	if found == nil {
		return nil, fmt.Errorf("%s enables no linters in a form that this program reads", config)
	}
	return strings.Fields(strings.ReplaceAll(string(found[1]), "- ", "")), nil
}

// drop tells whether s imports a linter that is not enabled, and notes its package's name.
func drop(s ast.Spec, names []string, dropped map[string]bool) bool {
	spec, ok := s.(*ast.ImportSpec)
	if !ok {
		return false
	}
	name, err := strconv.Unquote(spec.Path.Value)
	if err != nil || !strings.Contains(name, "/golinters/") || slices.Contains(names, path.Base(name)) {
		return false
	}
	dropped[path.Base(name)] = true
	return true
}

func uses(e ast.Expr, packages map[string]bool) bool {
	found := false
	ast.Inspect(e, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			name, ok := selector.X.(*ast.Ident)
			found = found || ok && packages[name.Name]
		}
		return !found
	})
	return found
}

// useVariables uses each variable once more: the compiler refuses variables that only the linters dropped have used.
func useVariables(statements []ast.Stmt) []ast.Stmt {
	var out []ast.Stmt
	for _, s := range statements {
		out = append(out, s)
		if a, ok := s.(*ast.AssignStmt); ok && a.Tok == token.DEFINE {
			out = append(out, &ast.AssignStmt{Lhs: []ast.Expr{ast.NewIdent("_")}, Tok: token.ASSIGN, Rhs: []ast.Expr{a.Lhs[0]}})
		}
	}
	return out
}
