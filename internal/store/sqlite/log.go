package sqlite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Sizes in the write-ahead log (file format, 4) and its index (WAL-mode file format, 2).
const (
	logHeader   = 32
	frameHeader = 24
	indexHeader = 48
)

// checkLog finds damage in the write-ahead log of a database that is not open. SQLite
// reads the log up to the first invalid frame. It takes what follows for the remains
// of an earlier log, or for a transaction that a killed process did not complete, and
// so it says nothing when transactions behind damage are lost.
//
// There are two witnesses of these. The index of the log tells how many frames were
// committed: SQLite updates it when they are on the disk, and does not read it after a
// crash. It survives a killed process, but a power failure leaves an older one. Then
// a frame behind the invalid one tells: if it has the salts of this log and ends a
// transaction, that was probably committed.
//
// superseded means that the database has more than the valid part of the log, which
// must not be read then.
func checkLog(path string) (superseded bool, err error) {
	index, err := os.ReadFile(path + "-shm")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	x, known := parseIndex(index)
	file, err := os.Open(path + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		if known && x.committed > x.copied {
			return false, lostFrames(path, 0, x.committed-x.copied)
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	l, err := readLog(file)
	if err != nil {
		return false, fmt.Errorf("reading %s-wal: %w", path, err)
	}
	if known && (!l.valid || bytes.Equal(l.salts, x.salts)) && x.committed >= l.committed {
		has := max(l.committed, x.copied)
		if x.committed > has {
			err = lostFrames(path, l.committed, x.committed-has)
		}
		return x.copied > l.committed, err
	}
	behind, err := l.transactionBehind(file)
	if err != nil {
		return false, fmt.Errorf("reading %s-wal: %w", path, err)
	}
	if behind {
		return false, lostFrames(path, l.committed, 0)
	}
	return false, nil
}

// emptied reports whether a database has no content, but a log or its index: SQLite makes these when the file has its
// first page. It would delete the log, and take the database for a new one.
func emptied(path string) bool {
	return size(path) == 0 && size(path+"-wal")+size(path+"-shm") > 0
}

// size returns how many bytes a file has; 0: it may be missing.
func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// lostFrames is the error of a log that lacks committed frames; 0: unknown how many.
func lostFrames(path string, valid, lost int) error {
	if lost == 0 {
		return fmt.Errorf("%w: %s-wal is damaged behind frame %d, and transactions follow", errLog, path, valid)
	}
	return fmt.Errorf("%w: %s-wal is damaged or cut behind frame %d, and lacks %d frames", errLog, path, valid, lost)
}

// errLog means that committed transactions are lost with a part of the log.
var errLog = fmt.Errorf("%w: its log has lost transactions", errDamaged)

// A logIndex is what the index of a log says.
type logIndex struct {
	committed int // frames
	copied    int // of them, into the database
	salts     []byte
}

// parseIndex returns what an index says, if it is valid.
func parseIndex(b []byte) (x logIndex, valid bool) {
	if len(b) < 2*indexHeader+4 || !bytes.Equal(b[:indexHeader], b[indexHeader:2*indexHeader]) || b[12] == 0 {
		return logIndex{}, false
	}
	order := binary.NativeEndian
	sum := logChecksum{}.add(b[:40], order)
	if sum != (logChecksum{order.Uint32(b[40:]), order.Uint32(b[44:])}) {
		return logIndex{}, false
	}
	return logIndex{int(order.Uint32(b[16:])), int(order.Uint32(b[2*indexHeader:])), b[32:40]}, true
}

// A logChecksum is that of SQLite's log.
type logChecksum struct{ a, b uint32 }

func (c logChecksum) add(data []byte, order binary.ByteOrder) logChecksum {
	for ; len(data) >= 8; data = data[8:] {
		c.a += order.Uint32(data) + c.b
		c.b += order.Uint32(data[4:]) + c.a
	}
	return c
}

// A readableLog is the part of a log that SQLite reads.
type readableLog struct {
	valid     bool // its header is
	salts     []byte
	page      int   // bytes
	committed int   // frames up to the end of the last transaction
	end       int64 // of the valid frames, in bytes
}

// readLog reads a log up to the first invalid frame.
func readLog(file io.ReaderAt) (l readableLog, err error) {
	header := make([]byte, logHeader)
	if _, err := file.ReadAt(header, 0); err != nil {
		if err == io.EOF { // no frame was written
			err = nil
		}
		return l, err
	}
	var order binary.ByteOrder = binary.LittleEndian
	if header[3]&1 == 1 {
		order = binary.BigEndian
	}
	l.salts, l.page, l.end = header[16:24], int(binary.BigEndian.Uint32(header[8:])), logHeader
	if l.page == 1 {
		l.page = 1 << 16
	}
	sum := logChecksum{}.add(header[:24], order)
	l.valid = sum == (logChecksum{binary.BigEndian.Uint32(header[24:]), binary.BigEndian.Uint32(header[28:])})
	if !l.valid {
		return l, nil
	}
	frame := make([]byte, frameHeader+l.page)
	for n := 1; ; n++ {
		if _, err := file.ReadAt(frame, l.end); err == io.EOF {
			return l, nil
		} else if err != nil {
			return l, err
		}
		sum = sum.add(frame[:8], order).add(frame[frameHeader:], order)
		if !bytes.Equal(frame[8:16], l.salts) ||
			sum != (logChecksum{binary.BigEndian.Uint32(frame[16:]), binary.BigEndian.Uint32(frame[20:])}) {
			return l, nil
		}
		if binary.BigEndian.Uint32(frame[4:]) != 0 {
			l.committed = n
		}
		l.end += int64(len(frame))
	}
}

// transactionBehind reports whether a whole frame that ends a transaction follows the
// valid ones, wherever it begins: a part of the log may be missing.
func (l *readableLog) transactionBehind(file *os.File) (bool, error) {
	info, err := file.Stat()
	if err != nil || info.Size() < l.end+frameHeader || l.end == 0 {
		return false, err
	}
	salts := l.salts
	if !l.valid { // those of the first frame are not damaged
		salts = make([]byte, 8)
		if _, err := file.ReadAt(salts, logHeader+8); err != nil || bytes.Equal(salts, make([]byte, 8)) {
			return false, err
		}
	}
	page := int64(l.page)
	if !l.valid {
		page = pageSize
	}
	buffer := make([]byte, 1<<20)
	for from := l.end; from < info.Size(); from += int64(len(buffer) - frameHeader) {
		n, err := file.ReadAt(buffer, from)
		if err != nil && err != io.EOF {
			return false, err
		}
		for at := 0; ; at++ {
			i := bytes.Index(buffer[at:n], salts)
			if i < 0 {
				break
			}
			at += i
			begin := from + int64(at) - 8
			if at >= 8 && begin >= l.end && binary.BigEndian.Uint32(buffer[at-4:]) != 0 &&
				begin+frameHeader+page <= info.Size() {
				return true, nil
			}
		}
	}
	return false, nil
}
