package deps

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// What a piece may grow to.
const (
	fileLines        = 400
	functionLines    = 60
	testLines        = 120 // of a test's function: its table of examples counts
	interfaceMethods = 5
)

// source is the Go files of one package's folder, parsed.
type source struct {
	dir   string // as it is shown
	fset  *token.FileSet
	files map[string]*ast.File // by base name
}

// readSources parses all Go files below root, but for testdata, hidden
// folders and generated files.
func readSources(root string) ([]*source, []string, error) {
	byDir := map[string]*source{}
	var order []*source
	var lines []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != root && (d.Name() == "testdata" || d.Name() == "vendor" || strings.HasPrefix(d.Name(), ".")) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		shown, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		s := byDir[shown]
		if s == nil {
			s = &source{shown, token.NewFileSet(), map[string]*ast.File{}}
			byDir[shown] = s
			order = append(order, s)
		}
		if err := s.add(d.Name(), text); err != nil {
			return err
		}
		if n := bytes.Count(text, []byte("\n")); n > fileLines && s.files[d.Name()] != nil {
			lines = append(lines, fmt.Sprintf("%s has %d lines, more than %d", filepath.Join(shown, d.Name()), n, fileLines))
		}
		return nil
	})
	return order, lines, err
}

func (s *source) add(name string, text []byte) error {
	f, err := parser.ParseFile(s.fset, filepath.Join(s.dir, name), text, parser.ParseComments)
	if err == nil && !ast.IsGenerated(f) {
		s.files[name] = f
	}
	return err
}

// check returns a line for each rule that the package breaks.
func (s *source) check() []string {
	var lines []string
	report := func(at token.Pos, format string, args ...any) {
		p := s.fset.Position(at)
		lines = append(lines, fmt.Sprintf("%s:%d: ", p.Filename, p.Line)+fmt.Sprintf(format, args...))
	}
	documented, code := false, false
	for name, f := range s.files {
		test := strings.HasSuffix(name, "_test.go")
		code = code || !test
		documented = documented || !test && f.Doc != nil
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				s.checkFunction(d, test, report)
			case *ast.GenDecl:
				if d.Tok == token.VAR && !test {
					s.checkVariables(f, d, report)
				}
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if i, ok := n.(*ast.InterfaceType); ok && i.Methods.NumFields() > interfaceMethods {
				report(i.Pos(), "an interface of %d methods, more than %d", i.Methods.NumFields(), interfaceMethods)
			}
			return true
		})
	}
	if code && !documented {
		lines = append(lines, s.dir+" has no package comment")
	}
	return lines
}

func (s *source) checkFunction(d *ast.FuncDecl, test bool, report func(token.Pos, string, ...any)) {
	if d.Recv == nil && d.Name.Name == "init" {
		report(d.Pos(), "an init function: do it where it is needed")
	}
	limit := functionLines
	if test {
		limit = testLines
	}
	if n := s.fset.Position(d.End()).Line - s.fset.Position(d.Pos()).Line + 1; n > limit {
		report(d.Pos(), "%s has %d lines, more than %d", d.Name.Name, n, limit)
	}
}

// checkVariables allows what can't become state: error sentinels, compiled
// regular expressions, embedded files, proofs of an interface, tables that
// nothing assigns to, and the version that the linker sets in a main package.
func (s *source) checkVariables(f *ast.File, d *ast.GenDecl, report func(token.Pos, string, ...any)) {
	for _, spec := range d.Specs {
		v := spec.(*ast.ValueSpec)
		if embedded(d.Doc) || embedded(v.Doc) {
			continue
		}
		for i, name := range v.Names {
			switch {
			case name.Name == "_", f.Name.Name == "main" && name.Name == "version":
			case i < len(v.Values) && s.constant(name.Name, v.Values[i]):
			default:
				report(name.Pos(), "the package variable %s: pass it, or make it a constant or a function", name.Name)
			}
		}
	}
}

func embedded(doc *ast.CommentGroup) bool {
	if doc != nil {
		for _, c := range doc.List {
			if strings.HasPrefix(c.Text, "//go:embed ") {
				return true
			}
		}
	}
	return false
}

func (s *source) constant(name string, value ast.Expr) bool {
	switch v := value.(type) {
	case *ast.CallExpr:
		f, ok := v.Fun.(*ast.SelectorExpr)
		if !ok {
			return false
		}
		from, ok := f.X.(*ast.Ident)
		return ok && (from.Name == "errors" && f.Sel.Name == "New" || from.Name == "fmt" && f.Sel.Name == "Errorf" ||
			from.Name == "regexp" && f.Sel.Name == "MustCompile")
	case *ast.CompositeLit:
		return !ast.IsExported(name) && !s.assigned(name)
	}
	return false
}

// assigned says whether anything in the package assigns to a name or to an
// element of it. A local of the same name counts too: rename one.
func (s *source) assigned(name string) bool {
	found := false
	for _, f := range s.files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				for _, l := range n.Lhs {
					found = found || root(l) == name
				}
			case *ast.IncDecStmt:
				found = found || root(n.X) == name
			case *ast.UnaryExpr:
				found = found || n.Op == token.AND && root(n.X) == name
			}
			return !found
		})
	}
	return found
}

// root is the variable that an expression like a.b[c] is a part of.
func root(e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x.Name
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		default:
			return ""
		}
	}
}
