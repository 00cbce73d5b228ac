package jobs

import (
	"slices"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

// pictures are the marks of conversations (transcript.Mark), packed: those of the
// jobs that ended last, of as many as may have series of their own.
type pictures struct {
	of    map[string][]byte
	order []string // IDs, the job that ended first in front; of some that are gone, too
}

func newPictures() pictures { return pictures{of: make(map[string][]byte)} }

// draw keeps the picture of a job's result, and lets go of the oldest where there
// would be too many.
func (c *change) draw(j *Job, result *transcript.Result) {
	options := c.r.options.Load()
	if !options.KeepTimings || options.MaxJobSeries == 0 || len(result.Timings) == 0 {
		return
	}
	c.pictures[j.RequestID] = transcript.PackMarks(transcript.Marks(result.Timings))
}

// erase lets go of a job's picture.
func (c *change) erase(id string) {
	_, there := c.r.pictures.of[id]
	_, drawn := c.pictures[id]
	if there || drawn {
		c.pictures[id] = nil
	}
}

// bound lets go of the oldest pictures where there would be too many.
func (c *change) boundPictures() {
	n := len(c.r.pictures.of)
	for id, picture := range c.pictures {
		_, there := c.r.pictures.of[id]
		switch {
		case picture != nil && !there:
			n++
		case picture == nil && there:
			n--
		}
	}
	limit := c.r.options.Load().MaxJobSeries
	for _, id := range c.r.pictures.order {
		if n <= limit {
			return
		}
		_, there := c.r.pictures.of[id]
		if _, changes := c.pictures[id]; there && !changes {
			c.pictures[id] = nil
			n--
		}
	}
}

// install makes what was drawn and erased visible.
func (p *pictures) install(changed map[string][]byte) {
	for id, picture := range changed {
		if picture == nil {
			delete(p.of, id)
			continue
		}
		if _, there := p.of[id]; !there {
			p.order = append(p.order, id)
		}
		p.of[id] = picture
	}
	if len(p.order) > 2*len(p.of)+16 {
		p.order = slices.DeleteFunc(p.order, func(id string) bool { return p.of[id] == nil })
	}
}

// load takes in what is stored: the pictures of tracked jobs.
func (r *Register) loadPictures(stored map[string][]byte) {
	r.ended.Scan(func(j *Job) bool {
		if picture := stored[j.RequestID]; picture != nil {
			r.pictures.of[j.RequestID] = picture
			r.pictures.order = append(r.pictures.order, j.RequestID)
		}
		return true
	})
}

// Marks returns the marks of a job's conversation, in order of start; nil where
// none are kept.
func (r *Register) Marks(requestID string) []transcript.Mark {
	r.mu.RLock()
	packed := r.pictures.of[requestID]
	r.mu.RUnlock()
	marks, err := transcript.UnpackMarks(packed)
	if err != nil { // also where there are none
		return nil
	}
	return marks
}
