package bad

import "net/http"

var counter int

var Table = map[string]int{"a": 1}

var touched = map[string]int{}

var pointed = struct{ a int }{1}

var client = http.DefaultClient

func init() { touched["a"] = 1 }

type wide interface {
	A()
	B()
	C()
	D()
	E()
	F()
}

func use() *int { counter++; return &pointed.a }
