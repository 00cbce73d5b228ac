package jobstatus_test

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/deepaffects-monitor/deepaffects-monitor/internal/jobstatus"
	"github.com/deepaffects-monitor/deepaffects-monitor/internal/transcript"
)

func TestWebhooks(t *testing.T) {
	completed := func(id string) jobstatus.Webhook {
		return jobstatus.Webhook{RequestID: id, State: jobstatus.Completed}
	}
	failed := func(code string) jobstatus.Webhook {
		return jobstatus.Webhook{RequestID: "a", State: jobstatus.Failed, ErrorCode: code}
	}
	asr := completed("8c0f3a52-5d0b-4b5c-9a3e-0f6a4f3b7f10")
	asr.Result = statistics(func(s *transcript.Statistics) {
		s.Confidence, s.Speakers, s.Words, s.Overlaps = .93, 1, 1, 0
		s.SpeechSeconds, s.DurationSeconds, s.SpeechRate, s.DominantSpeakerRatio = .5, .5, 2, 1
		s.WordConfidence = transcript.Distribution{
			Count: 1, Sum: .93, Min: .93, Max: .93, P1: .93, P10: .93, P50: .93, P90: .93, P99: .93,
		}
		s.WordDuration = transcript.Distribution{
			Count: 1, Sum: .5, Min: .5, Max: .5, P1: .5, P10: .5, P50: .5, P90: .5, P99: .5,
		}
		s.BySpeaker = []transcript.Speaker{{TalkSeconds: .5, Words: 1, Turns: 1, ConfidenceMean: .93}}
	})
	failedPayload := failed("com.deepaffects.BadRequest")
	failedPayload.RequestID = "0f8fad5b-d9cb-469f-a165-70867728950e"
	for doc, want := range map[string]jobstatus.Webhook{
		string(payload(t, "webhook_asr.json")):                                            asr,
		string(payload(t, "webhook_failed.json")):                                         failedPayload,
		string(payload(t, "webhook_depressed.json")):                                      completed("h1"),
		`{"response": null, "request_id": "a"}`:                                           completed("a"),
		`{"request_id": "a", "response": [{"emotion": "neutral", "start": 0, "end": 3}]}`: completed("a"),
		`{"request_id": "a", "status": 200, "response": {}}`:                              completed("a"),
		// The vendor sends a webhook when a job has ended. A result, or a fault, says how, whatever the word beside it.
		`{"request_id": "a", "status": "Archived", "response": {}}`:                         completed("a"),
		`{"response": {"speakers": []}, "status": "Archived", "request_id": "a"}`:           completed("a"),
		`{"request_id": "a", "status": "Archived", "depressed": true}`:                      completed("a"),
		`{"request_id": "a", "status": "Archived", "fault": {}}`:                            failed("unknown"),
		`{"request_id": 7, "response": {}}`:                                                 completed("7"),
		`{"request_id": "a", "response": {"words": [{"start": 0, "end": 1}], "fault": {}}}`: failed("unknown"),
		`{"request_id": "a", "fault": {"detail": {"errorcode": "x.y"}}}`:                    failed("x.y"),
	} {
		got, err := jobstatus.ReadWebhook(iotest.OneByteReader(strings.NewReader(doc)), func() {}, jobstatus.NoTimings)
		if diff := cmp.Diff(want, got, equal); diff != "" || err != nil {
			t.Errorf("%s: error %v (-want +got):\n%s", doc, err, diff)
		}
	}
}

func TestWhatIsNoWebhook(t *testing.T) {
	for doc, want := range map[string]string{
		``:                                    "the body is empty",
		`[]`:                                  "not a JSON object",
		`{"request_id": "a"}`:                 "not a webhook, at byte 19",
		`{"response": {}}`:                    "not a webhook, at byte 16",
		`{"request_id": "a", "fault": null}`:  "not a webhook, at byte 34",
		`{"request_id": "a", "fault": false}`: "not a webhook, at byte 35",
		`{"response": {"request_id": "a", "fault": false}}`: "not a webhook, at byte 49",
		// A word that nobody knows leaves the state alone where nothing else tells it: a poll decides.
		`{"request_id": "a", "status": "Queued", "response": null}`:                 "the state is unknown, and there is no result, at byte 57",
		`{"request_id": "a", "status": "Queued", "response": null, "fault": false}`: "the state is unknown, and there is no result, at byte 73",
		`{"request_id": null, "response": {}}`:                                      "not a webhook, at byte 36",
		`{"request_id": "a", "response": {"words": [}}`:                             "invalid JSON at byte 43",
		`{"request_id": "a", "response": {}} {}`:                                    "trailing data after the document, at byte 36",
		`{"request_id": "a", "request_id": "b", "response": {}}`:                    "the request ID is given twice, with different values, at byte 37",
		`{"request_id": "a", "response": {}, "status": "Running"}`:                  "the job has not ended, at byte 56",
	} {
		got, err := jobstatus.ReadWebhook(strings.NewReader(doc), func() {}, jobstatus.NoTimings)
		if diff := cmp.Diff(jobstatus.Webhook{}, got, equal); diff != "" || err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %s (-want +got):\n%s", doc, err, want, diff)
		}
	}
	broken := errors.New("broken")
	if _, err := jobstatus.ReadWebhook(iotest.ErrReader(broken), func() {}, jobstatus.NoTimings); err != broken {
		t.Errorf("error %v, want the reader's", err)
	}
}
