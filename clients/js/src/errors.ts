// The one error of the SDK: what the server refused, in its words, and what
// never reached it, in ours.

/** What an error acknowledgement carries (wire protocol, sections 3 and 16). */
export interface ErrorDetails {
  name: string;
  message: string;
  code: string;
  status?: number | undefined;
  field?: string | undefined;
  limit?: number | undefined;
  retry?: boolean | undefined;
  retryAfterMs?: number | undefined;
}

/**
 * Every rejection of this SDK. `name` is the server's (`ForbiddenError`, …) or one of
 * `TimeoutError`, `DisconnectedError`, `ConnectError` and `ProtocolError`, which are made here.
 */
export class RelayBoxError extends Error {
  override readonly name: string;
  /** The word to program against: `forbidden`, `not_member`, `timeout`, `disconnected`, … */
  readonly code: string;
  /** As in HTTP; absent where no server answered. */
  readonly status: number | undefined;
  /** The field of the call that is wrong. */
  readonly field: string | undefined;
  /** The bound that was passed. */
  readonly limit: number | undefined;
  /** Whether the same call may succeed later. */
  readonly retry: boolean;
  /** How long to wait before that, where the server said it. */
  readonly retryAfterMs: number | undefined;

  constructor(details: ErrorDetails) {
    super(details.message);
    this.name = details.name;
    this.code = details.code;
    this.status = details.status;
    this.field = details.field;
    this.limit = details.limit;
    this.retry = details.retry ?? false;
    this.retryAfterMs = details.retryAfterMs;
  }
}

// The codes of the server's table, for servers that send a name alone (the public one).
const codes: Record<string, string> = {
  ValidationError: 'invalid',
  NoClientIdError: 'no_client_id',
  UnauthorizedError: 'unauthorized',
  TokenError: 'token_invalid',
  TokenExpiredError: 'token_expired',
  ForbiddenError: 'forbidden',
  NotFoundError: 'not_found',
  NotInRoomError: 'not_in_room',
  NotMemberError: 'not_member',
  LimitError: 'limit',
  PayloadTooLargeError: 'too_large',
  RateLimitError: 'rate_limited',
  InternalError: 'internal',
  NotSupportedError: 'not_supported',
  UnavailableError: 'unavailable',
};

const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
const number = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined);

/** Reads the `err` of an acknowledgement. */
export function fromWire(err: Record<string, unknown>): RelayBoxError {
  const name = text(err['name']) ?? 'Error';
  return new RelayBoxError({
    name,
    message: text(err['message']) ?? 'the server refused the request without a reason',
    code: text(err['code']) ?? codes[name] ?? 'unknown',
    status: number(err['status']),
    field: text(err['field']),
    limit: number(err['limit']),
    retry: err['retry'] === true,
    retryAfterMs: number(err['retryAfterMs']),
  });
}

/** A wrong argument that cannot even be sent. */
export function invalid(message: string, field: string): RelayBoxError {
  return new RelayBoxError({ name: 'ValidationError', code: 'invalid', status: 400, message, field });
}

/** The answer did not come in time. It may have been done all the same. */
export function timedOut(what: string, ms: number): RelayBoxError {
  return new RelayBoxError({
    name: 'TimeoutError',
    code: 'timeout',
    retry: true,
    message: `${what} was not answered within ${ms} ms`,
  });
}

/** There is no connection, or it ended before the answer came. */
export function disconnected(message: string): RelayBoxError {
  return new RelayBoxError({ name: 'DisconnectedError', code: 'disconnected', retry: true, message });
}

/** The server ended the connection because of a frame of that many characters. */
export function tooLarge(characters: number): RelayBoxError {
  return new RelayBoxError({
    name: 'PayloadTooLargeError',
    code: 'too_large',
    status: 413,
    message: `the server closed the connection (1009): a request of ${characters} characters is over its frame limit`,
  });
}

/** The server sent what this SDK does not understand. */
export function protocolError(message: string): RelayBoxError {
  return new RelayBoxError({ name: 'ProtocolError', code: 'protocol', message });
}

const refusals: Record<number, [name: string, code: string, retry: boolean]> = {
  400: ['ValidationError', 'invalid', false],
  401: ['UnauthorizedError', 'unauthorized', false],
  403: ['ForbiddenError', 'forbidden', false],
  429: ['RateLimitError', 'rate_limited', true],
  503: ['UnavailableError', 'unavailable', true],
};

/**
 * The socket did not open. A browser hides why; `ws` names the HTTP status in its message,
 * which is then told as the server's own error would be.
 */
export function connectFailed(address: string, cause: string): RelayBoxError {
  const status = Number(/response: (\d{3})\b/.exec(cause)?.[1] ?? 0);
  const known = refusals[status];
  const [name, code, retry] = known ?? ['ConnectError', 'connect_failed', true];
  return new RelayBoxError({
    name,
    code,
    retry,
    status: status || undefined,
    message: `could not connect to ${address}${cause === '' ? '' : `: ${cause}`}`,
  });
}
