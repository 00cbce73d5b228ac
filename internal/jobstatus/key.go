package jobstatus

import (
	"errors"
	"os"
	"strings"
)

// ReadKey returns the API key in a file, which orchestrators and secret stores may change:
// its content without surrounding white space. Call it for each request: that is cheap
// compared to the request, and not every change shows in time and size.
func ReadKey(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(string(content))
	if key == "" {
		return "", errors.New(path + " is empty")
	}
	return key, nil
}
