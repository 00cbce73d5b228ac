package jobstatus

import (
	"net/http"
	"strings"
)

// An Outcome is how a request to the API ended.
type Outcome int

// The outcomes.
const (
	OK           Outcome = iota // a complete status
	NotFound                    // the API does not know the request ID
	ClientError                 // the API rejects the request
	Unauthorized                // the API rejects the key
	RateLimited                 // too many requests in a short time
	OverQuota                   // the quota of the plan is used up
	ServerError                 // an error of the API
	Timeout                     // no complete response in time
	Network                     // no connection, or it broke
	Malformed                   // not a status: other JSON, HTML, a redirect, the status of another job
	TooLarge                    // the response exceeds the size limit
)

// Outcomes are the names of the outcomes, which are the values of the label `outcome`.
var Outcomes = [...]string{
	"ok", "not_found", "client_error", "unauthorized", "rate_limited", "over_quota",
	"server_error", "timeout", "network", "malformed", "too_large",
}

func (o Outcome) String() string { return Outcomes[o] }

// refusal returns the outcome of a response that is not a status. It prefers the error code
// of the fault, because the vendor sends some with an unspecific HTTP status.
func refusal(httpStatus int, errorCode string) Outcome {
	code := strings.ToLower(errorCode)
	switch {
	case httpStatus == http.StatusPaymentRequired, strings.Contains(code, "quotaviolation"):
		return OverQuota
	case httpStatus == http.StatusTooManyRequests,
		strings.Contains(code, "rate_limit"), strings.Contains(code, "ratelimit"):
		return RateLimited
	case httpStatus == http.StatusUnauthorized, httpStatus == http.StatusForbidden, strings.Contains(code, "oauth."):
		return Unauthorized
	case code == "unknown_route", strings.HasSuffix(code, "flow.applicationnotfound"):
		// The URL is wrong, or the vendor's gateway (the latter code is Apigee's) has no API there at present, which does
		// not tell about the request ID: no job may be lost because of it.
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
