package jobstatus

import (
	"errors"
	"os"
	"strings"
)

// A KeyFile is an API key in a file, which orchestrators and rotating secret
// stores change. It may be used by several goroutines at once.
type KeyFile struct{ path string }

// NewKeyFile reads the key in a file: its text without surrounding white space.
func NewKeyFile(path string) (*KeyFile, error) {
	f := &KeyFile{path}
	_, err := f.Key()
	return f, err
}

// Key returns the key that the file has now. It reads the file each time: that
// is nothing beside a request, and neither time nor size show every change.
func (f *KeyFile) Key() (string, error) {
	content, err := os.ReadFile(f.path)
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(string(content))
	if key == "" {
		return "", errors.New(f.path + " is empty")
	}
	return key, nil
}
