package options

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/influxdata/telegraf/config"
)

// Number is a number with or without quotes and decimal point. Telegraf's decoder does
// not accept 5 for a float64, nor "5", which is how numbers come from the environment.
type Number float64

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *Number) UnmarshalText(text []byte) error {
	v, err := strconv.ParseFloat(withoutUnderscores(text), 64)
	if err != nil {
		return errors.New("must be a number")
	}
	*n = Number(v)
	return nil
}

// Integer is a whole number with or without quotes.
type Integer int

// UnmarshalText implements encoding.TextUnmarshaler.
func (i *Integer) UnmarshalText(text []byte) error {
	v, err := strconv.Atoi(withoutUnderscores(text))
	if err != nil {
		return errors.New("must be a whole number")
	}
	*i = Integer(v)
	return nil
}

// Size is a number of bytes. It accepts what Telegraf's config.Size does and also "64M",
// "64mib" and "64 MiB".
type Size int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	digits := withoutUnderscores(text)
	var size config.Size
	if err := size.UnmarshalText([]byte(digits)); digits != "" && err == nil {
		*s = Size(size)
		return nil
	}
	v, err := humanize.ParseBytes(digits)
	_, withoutUnit := strconv.ParseFloat(digits, 64)
	if err != nil || withoutUnit == nil || v > math.MaxInt64 {
		return errors.New("must be a size")
	}
	*s = Size(v)
	return nil
}

// withoutUnderscores returns the text of a TOML number as package strconv reads it.
func withoutUnderscores(text []byte) string { return strings.ReplaceAll(string(text), "_", "") }
