package presence

import "fmt"

// Code is the machine's name of an error: in logs, in metric labels, in
// problem documents and in our SDKs.
type Code string

// The codes of the one table of errors.
const (
	CodeInvalid      Code = "invalid"
	CodeNoClientID   Code = "no_client_id"
	CodeUnauthorized Code = "unauthorized"
	CodeTokenInvalid Code = "token_invalid"
	CodeTokenExpired Code = "token_expired"
	CodeForbidden    Code = "forbidden"
	CodeNotFound     Code = "not_found"
	CodeNotInRoom    Code = "not_in_room"
	CodeNotMember    Code = "not_member"
	CodeLimit        Code = "limit"
	CodeTooLarge     Code = "too_large"
	CodeRateLimited  Code = "rate_limited"
	CodeInternal     Code = "internal"
	CodeNotSupported Code = "not_supported"
	CodeUnavailable  Code = "unavailable"
	CodeFenced       Code = "fenced"
)

// ErrorRow is one line of the table of errors.
type ErrorRow struct {
	Code   Code
	Name   string // the public face: `err.name` on the wire
	Status int    // HTTP status, and `err.status` on the wire
	Retry  bool   // the same request may succeed later
	Advice string // what the caller can do, for the reference page
}

// errorTable is the only place where a code gets its name, status and retry.
var errorTable = []ErrorRow{
	{CodeInvalid, "ValidationError", 400, false, "mend the named field"},
	{CodeNoClientID, "NoClientIdError", 400, false, "connect with a clientId"},
	{CodeUnauthorized, "UnauthorizedError", 401, false, "check the API key"},
	{CodeTokenInvalid, "TokenError", 401, false, "check how the token is made"},
	{CodeTokenExpired, "TokenExpiredError", 401, false, "fetch a fresh token"},
	{CodeForbidden, "ForbiddenError", 403, false, "ask for the permission that the message names"},
	{CodeNotFound, "NotFoundError", 404, false, ""},
	{CodeNotInRoom, "NotInRoomError", 409, false, "join the room first"},
	{CodeNotMember, "NotMemberError", 409, false, "join the presence set first"},
	{CodeLimit, "LimitError", 409, false, "leave something first"},
	{CodeTooLarge, "PayloadTooLargeError", 413, false, "send less"},
	{CodeRateLimited, "RateLimitError", 429, true, "wait for retryAfterMs"},
	{CodeInternal, "InternalError", 500, false, "report it with the reference in the message"},
	{CodeNotSupported, "NotSupportedError", 501, false, ""},
	{CodeUnavailable, "UnavailableError", 503, true, "try again"},
	{CodeFenced, "UnavailableError", 503, true, "try again"},
}

// ErrorTable returns a copy of the table, in its order.
func ErrorTable() []ErrorRow { return append([]ErrorRow(nil), errorTable...) }

// Error is every failure that a user can see. Message names the thing, the
// bound and the value's size, and never holds a secret.
type Error struct {
	Code    Code
	Name    string
	Status  int
	Message string
	Retry   bool
	Field   string // the field at fault, "" when there is none
	Limit   int64  // the bound that was broken, 0 when there is none

	RetryAfterMs int64 // how long to wait, 0 when not known
}

// Error implements error.
func (e *Error) Error() string { return e.Name + ": " + e.Message }

// Errorf makes an error of the given code; name, status and retry come from
// the table. An unknown code becomes an internal error.
func Errorf(code Code, format string, args ...any) *Error {
	for i := range errorTable {
		if row := &errorTable[i]; row.Code == code {
			return &Error{
				Code: code, Name: row.Name, Status: row.Status, Retry: row.Retry,
				Message: fmt.Sprintf(format, args...),
			}
		}
	}
	return Errorf(CodeInternal, "unknown error code %q", code)
}

// WithField returns e with the name of the field at fault.
func (e *Error) WithField(field string) *Error { e.Field = field; return e }

// WithLimit returns e with the bound that was broken.
func (e *Error) WithLimit(limit int64) *Error { e.Limit = limit; return e }
