package archive

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"time"
)

// scanEntry reads a line of a listing as printEntry writes it, many times
// faster than encoding/json: a night on which nothing changed is little else.
// text is the line once more, whose parts the entry keeps; ids is what its
// blobs are appended to. Whatever looks otherwise is not ok, and left to
// decodeEntry.
func scanEntry(line []byte, text string, ids *[]ID) (e Entry, ok bool) {
	e.UID, e.GID = -1, -1
	s := scanner{rest: line, ok: true}
	s.want(`{"path":"`)
	e.Path = s.text(text)
	if s.has(`","kind":"`) {
		e.Kind = kindOf(s.text(text))
	}
	s.want(`","mode":"`)
	e.Mode = s.octal()
	s.want(`"`)
	if s.has(`,"uid":`) {
		e.UID = int(s.number())
	}
	if s.has(`,"gid":`) {
		e.GID = int(s.number())
	}
	s.want(`,"modified":"`)
	e.Modified = s.instant()
	s.want(`"`)
	if s.has(`,"size":`) {
		e.Size = s.number()
	}
	named := s.has(`,"sha256":"`)
	if named {
		s.id(&e.SHA256)
		s.want(`"`)
	}
	if s.has(`,"blobs":["`) {
		e.Blobs = s.ids(ids)
		if len(e.Blobs) == 1 && !named {
			e.SHA256 = e.Blobs[0]
		}
	}
	e.Sparse = s.has(`,"sparse":true`)
	if s.has(`,"target":"`) {
		e.Target = s.text(text)
		s.want(`"`)
	}
	s.want(`}`)
	return e, s.ok && len(s.rest) == 0 && checkPath(e.Path) == nil && checkKind(&e) == nil
}

// kindOf returns the constant.
func kindOf(text string) string {
	for _, k := range []string{KindFolder, KindLink, KindFIFO, KindSocket} {
		if k == text {
			return k
		}
	}
	return text
}

// has takes a token if it is next.
func (s *scanner) has(token string) bool {
	if len(s.rest) < len(token) || string(s.rest[:len(token)]) != token {
		return false
	}
	s.rest = s.rest[len(token):]
	return true
}

// text takes what is before the next quotation mark, out of whole, which ends
// where rest does. It knows no escapes.
func (s *scanner) text(whole string) string {
	n := bytes.IndexByte(s.rest, '"')
	if n < 0 {
		s.ok = false
		return ""
	}
	at := len(whole) - len(s.rest)
	text := whole[at : at+n]
	if !simple(text) {
		s.ok = false
	}
	s.rest = s.rest[n:]
	return text
}

// octal takes a mode: four digits.
func (s *scanner) octal() (mode uint32) {
	const digits = 4
	for i := range digits {
		if len(s.rest) <= i || s.rest[i] < '0' || s.rest[i] > '7' {
			s.ok = false
			return 0
		}
		mode = mode<<3 | uint32(s.rest[i]-'0')
	}
	s.rest = s.rest[digits:]
	return mode
}

// instant takes seconds since 1970, a dot and nine digits.
func (s *scanner) instant() time.Time {
	sec := s.number()
	const digits = 9
	if len(s.rest) <= digits || s.rest[0] != '.' {
		s.ok = false
		return time.Time{}
	}
	nano := int64(0)
	for _, c := range s.rest[1 : digits+1] {
		if c < '0' || c > '9' {
			s.ok = false
		}
		nano = nano*10 + int64(c-'0')
	}
	s.rest = s.rest[digits+1:]
	return time.Unix(sec, nano).UTC()
}

// ids takes a list of IDs after its first quotation mark.
func (s *scanner) ids(to *[]ID) []ID {
	from := len(*to)
	for s.ok {
		var id ID
		s.id(&id)
		*to = append(*to, id)
		if !s.has(`","`) {
			break
		}
	}
	s.want(`"]`)
	return (*to)[from:len(*to):len(*to)]
}

// simple says whether JSON has a text as it is.
func simple(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// printEntry is marshalEntry for entries with simple texts, byte for byte.
func printEntry(b []byte, e *Entry) []byte {
	b = append(b, '{')
	if e.Path != "" {
		b = append(b, `"path":"`...)
		b = append(b, e.Path...)
		b = append(b, `",`...)
	}
	if e.Kind != "" {
		b = append(b, `"kind":"`...)
		b = append(b, e.Kind...)
		b = append(b, `",`...)
	}
	b = append(b, `"mode":"`...)
	for shift := 9; shift >= 0; shift -= 3 {
		b = append(b, '0'+byte(e.Mode>>shift&7))
	}
	b = append(b, '"')
	b = printNumber(b, `,"uid":`, int64(e.UID), e.UID >= 0)
	b = printNumber(b, `,"gid":`, int64(e.GID), e.GID >= 0)
	b = strconv.AppendInt(append(b, `,"modified":"`...), e.Modified.Unix(), 10)
	b = append(b, '.')
	nano := strconv.AppendInt(nil, 1_000_000_000+int64(e.Modified.Nanosecond()), 10)
	b = append(append(b, nano[1:]...), '"')
	b = printNumber(b, `,"size":`, e.Size, e.Size != 0)
	if e.Kind == KindFile && (len(e.Blobs) != 1 || e.Blobs[0] != e.SHA256) {
		b = append(hex.AppendEncode(append(b, `,"sha256":"`...), e.SHA256[:]), '"')
	}
	return append(printRest(b, e), "}\n"...)
}

func printRest(b []byte, e *Entry) []byte {
	for i, id := range e.Blobs {
		if i == 0 {
			b = append(b, `,"blobs":[`...)
		} else {
			b = append(b, ',')
		}
		b = append(hex.AppendEncode(append(b, '"'), id[:]), '"')
	}
	if len(e.Blobs) > 0 {
		b = append(b, ']')
	}
	if e.Sparse {
		b = append(b, `,"sparse":true`...)
	}
	if e.Target != "" {
		b = append(append(append(b, `,"target":"`...), e.Target...), '"')
	}
	return b
}

func printNumber(b []byte, name string, n int64, there bool) []byte {
	if !there {
		return b
	}
	return strconv.AppendInt(append(b, name...), n, 10)
}
