package jobstatus

import (
	"net/http"
	"strings"
)

// An Outcome is how a request to the API ended. Every request ends as exactly one.
type Outcome int

// The outcomes.
const (
	OK           Outcome = iota // a status was read, whole
	NotFound                    // the API does not know the request ID
	ClientError                 // the API refuses the request as such
	Unauthorized                // the API refuses the key
	RateLimited                 // too many requests in a short time
	OverQuota                   // the plan's quota is used up
	ServerError                 // the API failed
	Timeout                     // no answer, or not all of it, in time
	Network                     // no connection, or it broke
	Malformed                   // an answer that is not the API's: other JSON, HTML, a redirect, another job's status
	TooLarge                    // an answer over the size limit
)

// Outcomes are the names of the outcomes, as the label `outcome` has them.
var Outcomes = [...]string{
	"ok", "not_found", "client_error", "unauthorized", "rate_limited", "over_quota",
	"server_error", "timeout", "network", "malformed", "too_large",
}

func (o Outcome) String() string { return Outcomes[o] }

// refusal is the outcome of an answer that is no status: it goes by the error
// code of the fault inside where that is known, since the vendor sends some
// refusals with an unspecific HTTP status, and by the HTTP status otherwise.
func refusal(httpStatus int, errorCode string) Outcome {
	code := strings.ToLower(errorCode)
	switch {
	case httpStatus == http.StatusPaymentRequired, strings.Contains(code, "quotaviolation"):
		return OverQuota
	case httpStatus == http.StatusTooManyRequests, strings.Contains(code, "rate_limit"), strings.Contains(code, "ratelimit"):
		return RateLimited
	case httpStatus == http.StatusUnauthorized, httpStatus == http.StatusForbidden, strings.Contains(code, "oauth."):
		return Unauthorized
	case code == "unknown_route":
		// The URL is wrong, not the request ID: no job may be given up for that.
		return ClientError
	case httpStatus == http.StatusNotFound:
		return NotFound
	case httpStatus >= 500, code == "api_error":
		return ServerError
	case httpStatus >= 400, code == "params_invalid":
		return ClientError
	}
	return Malformed
}
