package laxjson_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/laxjson"
)

// scan writes a document in a canonical form, and stops at the first error.
func scan(r io.Reader) (string, error) { return scanWith(r, writeText) }

// writeText writes the text of a value that is no container.
func writeText(s *laxjson.Scanner, b *strings.Builder) error {
	v, err := s.Value()
	if v.Kind == laxjson.String {
		fmt.Fprintf(b, "%q", v.Text)
	} else {
		b.Write(v.Text)
	}
	return err
}

// writeFloat writes the number that a value means.
func writeFloat(s *laxjson.Scanner, b *strings.Builder) error {
	f, ok, err := s.Float()
	fmt.Fprint(b, f, ok)
	return err
}

// writeValueFloat does the same in another way.
func writeValueFloat(s *laxjson.Scanner, b *strings.Builder) error {
	v, err := s.Value()
	f, ok := v.Float()
	fmt.Fprint(b, f, ok)
	return err
}

func scanWith(r io.Reader, write func(*laxjson.Scanner, *strings.Builder) error) (string, error) {
	s := new(laxjson.Scanner)
	s.Reset(r)
	var b strings.Builder
	err := scanValue(s, &b, write)
	if err == nil {
		err = s.End()
	}
	return b.String(), err
}

func scanValue(s *laxjson.Scanner, b *strings.Builder, write func(*laxjson.Scanner, *strings.Builder) error) error {
	c, err := s.Peek()
	switch {
	case err != nil:
		return err
	case c == '{':
		b.WriteByte('{')
		if err := s.BeginObject(); err != nil {
			return err
		}
		for {
			name, more, err := s.NextName()
			if !more {
				b.WriteByte('}')
				return err
			}
			fmt.Fprintf(b, "%q:", name)
			if err := scanValue(s, b, write); err != nil {
				return err
			}
		}
	case c == '[':
		b.WriteByte('[')
		if err := s.BeginArray(); err != nil {
			return err
		}
		for {
			more, err := s.NextElement()
			if !more {
				b.WriteByte(']')
				return err
			}
			if err := scanValue(s, b, write); err != nil {
				return err
			}
			b.WriteByte(',')
		}
	}
	return write(s, b)
}

func TestScan(t *testing.T) {
	for doc, want := range map[string]string{
		`{}`: `{}`, ` { } `: `{}`, "\uFEFF{}": `{}`,
		`{"a": 1, "b": [true, null, "x\n\u00e4\ud83d\ude00"], "a": {}}`: `{"a":1"b":[true,null,"x\nä😀",]"a":{}}`,
		`{"\u0061": NaN, "b": -Infinity, "c": 1.5e-3}`:                  `{"a":NaN"b":-Infinity"c":1.5e-3}`,
		"{\"caf\xe9\": \"\x01\xff\"}":                                   `{"caf\xe9":"\x01\xff"}`,
		`{"a": "\ud800", "b": "\q"}`:                                    `{"a":"�""b":"q"}`,
		`{"a": "\ud800\u0041"}`:                                         `{"a":"�A"}`,
		// Objects that are alike, and those that are nearly so.
		`[{"a":1,"b":2},{"a":3,"b":4},{"b":5,"a":6},{"a":7}]`:      `[{"a":1"b":2},{"a":3"b":4},{"b":5"a":6},{"a":7},]`,
		`[{"a":1,"b":2},{"a":3, "b":4},{"a" :5,"b": 6},{"ab":7}]`:  `[{"a":1"b":2},{"a":3"b":4},{"a":5"b":6},{"ab":7},]`,
		`[{"a":{"b":1},"c":2},{"a":{"b":3},"c":4},{"a":[],"c":0}]`: `[{"a":{"b":1}"c":2},{"a":{"b":3}"c":4},{"a":[]"c":0},]`,
		`[{"\u0061":1,"":2},{"\u0061":3,"":4},{"a":5,"\"":6}]`:     `[{"a":1"":2},{"a":3"":4},{"a":5"\"":6},]`,
	} {
		for _, r := range []io.Reader{strings.NewReader(doc), iotest.OneByteReader(strings.NewReader(doc))} {
			if got, err := scan(r); got != want || err != nil {
				t.Errorf("%q is %s, error %v; want %s", doc, got, err, want)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	for doc, at := range map[string]int64{
		`{`: 1, `{"a`: 3, `{"a"`: 4, `{"a":`: 5, `{"a":1`: 6, `{"a":"x`: 7, `{"a":"\`: 7, `{"a":[`: 6, `{"a":1,`: 7,
		`{"a":1,}`: 7, `{"a":[1,]}`: 8, `{"a" 1}`: 5, `{a:1}`: 1, `{"a":1 "b":2}`: 7, `{"a":[1 2]}`: 8,
		`{"a":p.5}`: 5, `{"a":tru}`: 5, `{"a":1.2.3}`: 5, `{"a":-}`: 5, `{"a":.}`: 5, `{"a":12ab}`: 5, `{"a":True}`: 5,
		`[{"a":1},{,"a":1}]`: 10, `[{"a":1,"b":2},{"a":1"b":2}]`: 21, `{"a":[1]"a":2}`: 8, `{"a":{"b":1,"c":2}"c":3}`: 18,
		`[{"a":1,"b":2},{"b":1,}]`: 22, `[{"a":1},{"a":1`: 15, `[{"a":1},{"a":`: 14, `[{"a":1},{"a"`: 13,
		`{"a":}`: 5, `{"a":,}`: 5, `{"a":<}`: 5, `{"a":[1}`: 7, `{"a":'x'}`: 5, `{,"a":1}`: 1,
	} {
		for _, r := range []io.Reader{strings.NewReader(doc), iotest.OneByteReader(strings.NewReader(doc))} {
			_, err := scan(r)
			if syntax, ok := errors.AsType[*laxjson.SyntaxError](err); !ok || syntax.Offset != at {
				t.Errorf("%s: error %v, want one at byte %d", doc, err, at)
			}
		}
	}
	if _, err := scan(strings.NewReader(" ")); err != io.EOF {
		t.Errorf("an empty document: error %v", err)
	}
	if _, err := scan(strings.NewReader("{} {}")); err == nil || err.Error() != "trailing data after the document" {
		t.Errorf("two documents: error %v", err)
	}
	broken := errors.New("broken")
	for _, begin := range []string{"", " ", "{", `{"a`, `{"a":`, `{"a":1`, `{"a":"x`, "{}"} {
		_, err := scan(io.MultiReader(strings.NewReader(begin), iotest.ErrReader(broken)))
		if read, ok := errors.AsType[*laxjson.ReadError](err); !ok || read.Err != broken {
			t.Errorf("%s: error %v, want the reader's", begin, err)
		}
	}
}

// What is skipped must have the structure of JSON.
func TestSkip(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for value, ok := range map[string]bool{
		`"text \" \\"`: true, `12.5e3`: true, `{"a":[{}],"a":"}]"}`: true, `NaN`: true, `undefined`: true, `1.#QNAN`: true,
		"\"\xff\x00\n\\x\\ud800\"": true, `[-Infinity]`: true, `01`: true, `1-2`: true, `null`: true, `True`: false,
		`p.5`: false,
		`[]`:  true, `{}`: true, `[[],[1,{}],{"a":[]}]`: true, `{"a":{"b":1},"c":[{},2]}`: true,
		`[1,,2]`: false, `[1,]`: false, `[,1]`: false, `[1 2]`: false, `[1:2]`: false, `["a":1]`: false, `[[]1]`: false,
		`{"a" 1}`: false, `{"a"}`: false, `{"a":}`: false, `{"a":1,}`: false, `{,"a":1}`: false, `{"a":1 "b":2}`: false,
		`{"a","b"}`: false, `{1:2}`: false, `{[]:2}`: false, `{"a":1:2}`: false, `{"a":[]{}}`: false,
		`{"a":[1},"b":{2]}`:    false,
		deep(laxjson.MaxDepth): true, deep(laxjson.MaxDepth + 1): false,
		`[}`: false, `{]`: false, `[[]`: false, `]`: false, ``: false, `,`: false, `<p>`: false, `"a`: false,
		strings.Repeat("1", 1e5):              true,
		strings.Repeat("x", 1e5):              false,
		`"` + strings.Repeat(`\"`, 1e5) + `"`: true,
	} {
		doc := value + ",1"
		for _, r := range []io.Reader{strings.NewReader(doc), iotest.OneByteReader(strings.NewReader(doc))} {
			s := new(laxjson.Scanner)
			s.Reset(r)
			err := s.Skip()
			if c, _ := s.Peek(); (err == nil) != ok || ok && (c != ',' || s.Offset() != int64(len(value))) {
				t.Errorf("%.40q: error %v, then %q at byte %d", value, err, c, s.Offset())
			}
		}
	}
}

func value(t *testing.T, text string) laxjson.Value {
	t.Helper()
	s := new(laxjson.Scanner)
	s.Reset(strings.NewReader(text + " "))
	v, err := s.Value()
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func TestFloat(t *testing.T) {
	nan := math.NaN()
	for text, want := range map[string]float64{
		`0`: 0, `-0`: 0, `-0.0`: 0, `"-0"`: 0, `0.93`: .93, `"0.93"`: .93, `" 0.93 "`: .93, `"1e-1"`: .1,
		`1E2`: 100, `"+5"`: 5,
		`.5`: .5, `5.`: 5, `01`: 1, `-1.25`: -1.25,
		`123456789012345`: 123456789012345, `1234567890123456789`: 1234567890123456789,
		`0.1234567890123456789`: .1234567890123456789, `1e999`: math.Inf(1), `"-1e999"`: math.Inf(-1), `1e-999`: 0,
		`null`: nan, `NaN`: nan, `nan`: nan, `-NaN`: nan, `Infinity`: nan, `-Infinity`: nan, `inf`: nan,
		`"NaN"`: nan, `"-inf"`: nan,
		`""`: nan, `" "`: nan, `"null"`: nan, `None`: nan, `undefined`: nan,
		`1.#QNAN`: nan, `-1.#IND00`: nan,
	} {
		got, ok := value(t, text).Float()
		if !ok || got != want && !(math.IsNaN(got) && math.IsNaN(want)) || math.Signbit(got) && got == 0 {
			t.Errorf("%s is %v, %v; want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{
		`true`, `"high"`, `{}`, `[1]`, `"0,93"`, `"93%"`, `"1 2"`, `"."`, `"-"`, `"1.2.3"`, `"1-2"`,
		`"` + strings.Repeat("1", laxjson.MaxText+1) + `"`, strings.Repeat("1", laxjson.MaxText+1),
	} {
		if got, ok := value(t, text).Float(); ok || !math.IsNaN(got) {
			t.Errorf("%.40s is %v, %v; want no number", text, got, ok)
		}
	}
}

// Numbers of all lengths are exact, whatever follows them.
func TestDecimals(t *testing.T) {
	const digits = "9081726354453627180"
	for whole := range len(digits) {
		for fraction := range len(digits) {
			for _, point := range []string{"", "."} {
				number := digits[:whole] + point + digits[:fraction]
				want, err := strconv.ParseFloat(number, 64)
				if err != nil {
					continue
				}
				for _, after := range []string{"]", ",7]", " , 7.25]", "\n,\"\xff\"]", "]\xff\xff"} {
					s := new(laxjson.Scanner)
					s.Reset(strings.NewReader(number + after))
					if got, ok, err := s.Float(); got != want || !ok || err != nil || s.Offset() != int64(len(number)) {
						t.Errorf("%s%q is %v, %v, %v up to byte %d", number, after, got, ok, err, s.Offset())
					}
				}
			}
		}
	}
}

func TestText(t *testing.T) {
	for value, want := range map[string]string{
		`"\uZ1"`: "uZ1", `"\u12"`: "u12", `"\u\u0041\u123x\u"`: "uAu123xu", `"\ud800\uZ"`: "\uFFFDuZ", `"\x"`: "x",
		`"a\u0062"`: "ab", `""`: "", ` "x"`: "x", `-1.50`: "-1.50", `7`: "7",
		`"` + strings.Repeat("x", laxjson.MaxText+1) + `"`: "",
		`null`: "none", `true`: "none", `NaN`: "none", `{"a":1}`: "none", `["a"]`: "none",
	} {
		s := new(laxjson.Scanner)
		s.Reset(strings.NewReader(value + ",1"))
		text, ok, err := s.Text()
		if next, _ := s.Peek(); next != ',' || err != nil || ok != (want != "none") || ok && string(text) != want {
			t.Errorf("%.40s is %q, %v, error %v, before %q; want %s", value, text, ok, err, next, want)
		}
	}
	for _, doc := range []string{`"a`, ``, `}`, `{"a"`} {
		s := new(laxjson.Scanner)
		s.Reset(strings.NewReader(doc))
		if text, ok, err := s.Text(); ok || err == nil {
			t.Errorf("%s is %q, %v", doc, text, ok)
		}
	}
}

func TestHasValidText(t *testing.T) {
	for text, want := range map[string]bool{
		`"a"`: true, `"ä\u00e4\ud83d\ude00"`: true, `""`: true,
		"\"\xff\"": false, "\"\x01\"": false, `"\n"`: false, `"\ud800"`: false, `"\udc00\ud800"`: false,
		`"\x"`: false, `"\u12"`: false,
		`"` + strings.Repeat("x", laxjson.MaxText) + `"`: true, `"` + strings.Repeat("x", laxjson.MaxText+1) + `"`: false,
	} {
		if got := value(t, text).HasValidText(); got != want {
			t.Errorf("%.40q: valid is %v", text, got)
		}
	}
}

// reference writes a document that is JSON as scan does.
func reference(doc []byte) (string, bool) {
	d := jsontext.NewDecoder(bytes.NewReader(doc))
	var b strings.Builder
	var containers []byte
	for ended := false; ; ended = len(containers) == 0 {
		tok, err := d.ReadToken()
		if err == io.EOF {
			return b.String(), true
		}
		if err != nil || ended {
			return "", false
		}
		depth := d.StackDepth()
		_, length := d.StackIndex(depth)
		switch tok.Kind() {
		case '{', '[':
			b.WriteByte(byte(tok.Kind()))
			containers = append(containers, byte(tok.Kind()))
			continue
		case '}', ']':
			b.WriteByte(byte(tok.Kind()))
			containers = containers[:len(containers)-1]
		case '"':
			if text := tok.String(); len(containers) > 0 && containers[len(containers)-1] == '{' && length%2 == 1 {
				if len(text) > 64 {
					text = ""
				}
				fmt.Fprintf(&b, "%q:", text)
				continue
			} else {
				b.WriteString(strconv.Quote(text))
			}
		default:
			b.WriteString(tok.String())
		}
		if n := len(containers); n > 0 && containers[n-1] == '[' {
			b.WriteByte(',')
		}
	}
}

// Whatever is JSON is read as a strict decoder reads it, and skipping it reads as far.
func FuzzScan(f *testing.F) {
	for _, doc := range []string{
		`{}`, `{"a":[1,-2.5e3,"x\u00e4",{"b":null,"c":[[],{}]}],"d":true}`, `{"a":NaN}`, "{\"\xff\":\"\\ud800\"}", `{"a":"b`,
		"\uFEFF{}", `{"a":1}}`, `{"a":"\\\""}`,
		`{"a":[{"b":1.25,"c":""},{"b":-3.5,"c":"12345678\\""},{"b":"7","c":0}],"d":{"b":1e2,"c":12345678901234567}}`,
	} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		if len(doc) > 4000 || len(bytes.TrimLeft(doc, " \t\r\n")) == 0 || bytes.TrimLeft(doc, " \t\r\n")[0] != '{' {
			return
		}
		got, err := scan(bytes.NewReader(doc))
		again, errAgain := scan(iotest.OneByteReader(bytes.NewReader(doc)))
		if got != again || fmt.Sprint(err) != fmt.Sprint(errAgain) {
			t.Errorf("%q is %s, %v; byte by byte %s, %v", doc, got, err, again, errAgain)
		}
		number, err1 := scanWith(bytes.NewReader(doc), writeFloat)
		same, err2 := scanWith(iotest.OneByteReader(bytes.NewReader(doc)), writeValueFloat)
		if number != same || fmt.Sprint(err1) != fmt.Sprint(err2) {
			t.Errorf("%q as numbers is %s, %v; in the other way %s, %v", doc, number, err1, same, err2)
		}
		if want, valid := reference(doc); valid && (got != want || err != nil) {
			t.Errorf("%q is %s, error %v; want %s", doc, got, err, want)
		}
		if err != nil {
			return
		}
		s := new(laxjson.Scanner)
		s.Reset(bytes.NewReader(doc))
		if err := errors.Join(s.Skip(), s.End()); err != nil {
			t.Errorf("%q is read, and not skipped: %v", doc, err)
		}
	})
}
