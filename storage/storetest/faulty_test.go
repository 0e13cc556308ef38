package storetest_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"testing"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/mem"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

var errTest = errors.New("the test's error")

// always is a rule with one fault for an operation.
func always(op storetest.Op, f storetest.Fault) func(storetest.Call) storetest.Fault {
	return func(c storetest.Call) storetest.Fault {
		if c.Op == op {
			return f
		}
		return storetest.Fault{}
	}
}

func TestFaultyWithoutFaults(t *testing.T) {
	storetest.Test(t, func(*testing.T) storage.Store {
		return storetest.Faulty(mem.New(), func(storetest.Call) storetest.Fault { return storetest.Fault{} })
	})
}

func TestFaultyPut(t *testing.T) {
	for name, c := range map[string]struct {
		fault   storetest.Fault
		wantErr error
		stored  string // what is there then
	}{
		"fails":        {storetest.Fault{Err: errTest}, errTest, ""},
		"answer lost":  {storetest.Fault{Err: errTest, Late: true}, errTest, "0123456789"},
		"dropped":      {storetest.Fault{Drop: true}, nil, ""},
		"truncated":    {storetest.Fault{Truncate: true, Bytes: 4}, nil, "0123"},
		"truncated, 0": {storetest.Fault{Truncate: true}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inner := mem.New()
			s := storetest.Faulty(inner, always(storetest.Put, c.fault))
			o, err := s.Put(t.Context(), "a", []byte("0123456789"), storage.PutOptions{})
			if !errors.Is(err, c.wantErr) {
				t.Errorf("error is %v, want %v", err, c.wantErr)
			}
			if err == nil && (o.Size != 10 || o.SHA256 == "") {
				t.Errorf("a lie that shows: %+v", o)
			}
			got, err := storage.ReadAll(t.Context(), inner, "a")
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if string(got) != c.stored {
				t.Errorf("stored is %q, want %q", got, c.stored)
			}
		})
	}
}

func TestFaultyGet(t *testing.T) {
	for name, c := range map[string]struct {
		fault   storetest.Fault
		wantErr error
		want    string
	}{
		"fails":     {storetest.Fault{Err: errTest}, errTest, ""},
		"cut":       {storetest.Fault{Cut: true, Bytes: 4}, io.ErrUnexpectedEOF, "0123"},
		"cut at 0":  {storetest.Fault{Cut: true}, io.ErrUnexpectedEOF, ""},
		"corrupted": {storetest.Fault{Corrupt: true}, nil, "1123456789"},
	} {
		t.Run(name, func(t *testing.T) {
			s := storetest.Faulty(mem.New(), always(storetest.Get, c.fault))
			if _, err := s.Put(t.Context(), "a", []byte("0123456789"), storage.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			var got []byte
			r, err := s.Get(t.Context(), "a", 0, -1)
			if err == nil {
				defer r.Close()
				got, err = io.ReadAll(r)
			}
			if !errors.Is(err, c.wantErr) {
				t.Errorf("error is %v, want %v", err, c.wantErr)
			}
			if string(got) != c.want {
				t.Errorf("read %q, want %q", got, c.want)
			}
		})
	}
}

func TestFaultyStatListDelete(t *testing.T) {
	for _, op := range []storetest.Op{storetest.Stat, storetest.List, storetest.Delete} {
		s := storetest.Faulty(mem.New(), always(op, storetest.Fault{Err: errTest}))
		_, statErr := s.Stat(t.Context(), "a")
		var listErr error
		for _, listErr = range s.List(t.Context(), "") {
		}
		deleteErr := s.Delete(t.Context(), "a")
		for failed, err := range map[storetest.Op]error{
			storetest.Stat: statErr, storetest.List: listErr, storetest.Delete: deleteErr,
		} {
			if got, want := errors.Is(err, errTest), failed == op; got != want {
				t.Errorf("with a fault in %s, %s returns %v", op, failed, err)
			}
		}
	}
}

func TestFaultyCountsAndHooks(t *testing.T) {
	hooks := 0
	s := storetest.Faulty(mem.New(), func(c storetest.Call) storetest.Fault {
		if c.Op == storetest.Put && c.OfOp == 2 {
			return storetest.Fault{Hook: func(context.Context) { hooks++ }}
		}
		return storetest.FailNth(4, errTest)(c)
	})
	for i, want := range []error{nil, nil, nil, errTest, errTest} {
		_, err := s.Put(t.Context(), "a", nil, storage.PutOptions{})
		if !errors.Is(err, want) {
			t.Errorf("call %d returns %v, want %v", i+1, err, want)
		}
	}
	if hooks != 1 || s.Count() != 5 || s.Count(storetest.Put) != 5 || s.Count(storetest.Get) != 0 {
		t.Errorf("%d hooks, %d calls, %d puts", hooks, s.Count(), s.Count(storetest.Put))
	}
}
