//#region src/backoff.ts
/**
* Full jitter: a random time from 0 to `min(capMs, baseMs * 2^(attempt-1))`. Clients that lost the same
* node at the same moment come back spread over the whole of it.
*/
function delayMs(attempt, { baseMs, capMs }, random = Math.random) {
	return Math.round(random() * Math.min(capMs, baseMs * 2 ** (attempt - 1)));
}
/** Resolves after `ms`; rejects, with the timer released, as soon as `signal` says so. */
function pause(ms, signal) {
	return new Promise((resolve, reject) => {
		if (signal.aborted) {
			reject(signal.reason);
			return;
		}
		const stop = () => {
			clearTimeout(timer);
			reject(signal.reason);
		};
		const timer = setTimeout(() => {
			signal.removeEventListener("abort", stop);
			resolve();
		}, ms);
		signal.addEventListener("abort", stop, { once: true });
	});
}
/** Lets `burst` through at once and then one every `everyMs`. */
var Pace = class {
	#everyMs;
	#slackMs;
	#next = 0;
	constructor(burst, everyMs) {
		this.#everyMs = everyMs;
		this.#slackMs = (burst - 1) * everyMs;
	}
	async turn(signal) {
		const now = performance.now();
		const due = Math.max(now, this.#next);
		this.#next = due + this.#everyMs;
		const wait = due - now - this.#slackMs;
		if (wait > 0) await pause(wait, signal);
	}
};
//#endregion
//#region src/emitter.ts
var Emitter = class {
	#entries = /* @__PURE__ */ new Map();
	on(event, handler, once = false) {
		const entry = {
			handler,
			once
		};
		const entries = this.#entries.get(event) ?? /* @__PURE__ */ new Set();
		this.#entries.set(event, entries.add(entry));
		return () => {
			entries.delete(entry);
		};
	}
	off(event, handler) {
		if (event === void 0) {
			for (const entries of this.#entries.values()) entries.clear();
			return;
		}
		for (const entry of this.#entries.get(event) ?? []) if (handler === void 0 || entry.handler === handler) this.#entries.get(event)?.delete(entry);
	}
	emit(event, ...args) {
		const entries = this.#entries.get(event);
		for (const entry of [...entries ?? []]) {
			if (!entries?.has(entry)) continue;
			if (entry.once) entries.delete(entry);
			call(entry.handler, args);
		}
	}
};
/**
* Calls a user's handler. What it throws must not stop the others or the connection, and must not be
* swallowed: it is thrown again outside, where the platform reports it as it does for its own events.
*/
function call(handler, args) {
	try {
		handler(...args);
	} catch (error) {
		queueMicrotask(() => {
			throw error;
		});
	}
}
//#endregion
//#region src/errors.ts
/**
* Every rejection of this SDK. `name` is the server's (`ForbiddenError`, …) or one of
* `TimeoutError`, `DisconnectedError`, `ConnectError` and `ProtocolError`, which are made here.
*/
var RelayBoxError = class extends Error {
	name;
	/** The word to program against: `forbidden`, `not_member`, `timeout`, `disconnected`, … */
	code;
	/** As in HTTP; absent where no server answered. */
	status;
	/** The field of the call that is wrong. */
	field;
	/** The bound that was passed. */
	limit;
	/** Whether the same call may succeed later. */
	retry;
	/** How long to wait before that, where the server said it. */
	retryAfterMs;
	constructor(details) {
		super(details.message);
		this.name = details.name;
		this.code = details.code;
		this.status = details.status;
		this.field = details.field;
		this.limit = details.limit;
		this.retry = details.retry ?? false;
		this.retryAfterMs = details.retryAfterMs;
	}
};
const codes = {
	ValidationError: "invalid",
	NoClientIdError: "no_client_id",
	UnauthorizedError: "unauthorized",
	TokenError: "token_invalid",
	TokenExpiredError: "token_expired",
	ForbiddenError: "forbidden",
	NotFoundError: "not_found",
	NotInRoomError: "not_in_room",
	NotMemberError: "not_member",
	LimitError: "limit",
	PayloadTooLargeError: "too_large",
	RateLimitError: "rate_limited",
	InternalError: "internal",
	NotSupportedError: "not_supported",
	UnavailableError: "unavailable"
};
const text = (value) => typeof value === "string" ? value : void 0;
const number = (value) => typeof value === "number" ? value : void 0;
/** Reads the `err` of an acknowledgement. */
function fromWire(err) {
	const name = text(err["name"]) ?? "Error";
	return new RelayBoxError({
		name,
		message: text(err["message"]) ?? "the server refused the request without a reason",
		code: text(err["code"]) ?? codes[name] ?? "unknown",
		status: number(err["status"]),
		field: text(err["field"]),
		limit: number(err["limit"]),
		retry: err["retry"] === true,
		retryAfterMs: number(err["retryAfterMs"])
	});
}
/** A wrong argument that cannot even be sent. */
function invalid(message, field) {
	return new RelayBoxError({
		name: "ValidationError",
		code: "invalid",
		status: 400,
		message,
		field
	});
}
/** The answer did not come in time. It may have been done all the same. */
function timedOut(what, ms) {
	return new RelayBoxError({
		name: "TimeoutError",
		code: "timeout",
		retry: true,
		message: `${what} was not answered within ${ms} ms`
	});
}
/** There is no connection, or it ended before the answer came. */
function disconnected(message) {
	return new RelayBoxError({
		name: "DisconnectedError",
		code: "disconnected",
		retry: true,
		message
	});
}
/** The server ended the connection because of a frame of that many characters. */
function tooLarge(characters) {
	return new RelayBoxError({
		name: "PayloadTooLargeError",
		code: "too_large",
		status: 413,
		message: `the server closed the connection (1009): a request of ${characters} characters is over its frame limit`
	});
}
/** The server sent what this SDK does not understand. */
function protocolError(message) {
	return new RelayBoxError({
		name: "ProtocolError",
		code: "protocol",
		message
	});
}
const refusals = {
	400: [
		"ValidationError",
		"invalid",
		false
	],
	401: [
		"UnauthorizedError",
		"unauthorized",
		false
	],
	403: [
		"ForbiddenError",
		"forbidden",
		false
	],
	429: [
		"RateLimitError",
		"rate_limited",
		true
	],
	503: [
		"UnavailableError",
		"unavailable",
		true
	]
};
/**
* The socket did not open. A browser hides why; `ws` names the HTTP status in its message,
* which is then told as the server's own error would be.
*/
function connectFailed(address, cause) {
	const status = Number(/response: (\d{3})\b/.exec(cause)?.[1] ?? 0);
	const [name, code, retry] = refusals[status] ?? [
		"ConnectError",
		"connect_failed",
		true
	];
	return new RelayBoxError({
		name,
		code,
		retry,
		status: status || void 0,
		message: `could not connect to ${address}${cause === "" ? "" : `: ${cause}`}`
	});
}
//#endregion
//#region src/platform.ts
/** Calls the hooks until the undo that it returns is called. */
function watchPlatform({ offline, wake }) {
	const page = globalThis.document;
	const undo = [];
	const on = (target, name, handler) => {
		if (typeof target?.addEventListener !== "function") return;
		target.addEventListener(name, handler);
		undo.push(() => target.removeEventListener(name, handler));
	};
	const world = globalThis;
	on(world, "offline", offline);
	on(world, "online", wake);
	on(world, "pageshow", (event) => {
		if (event.persisted) wake();
	});
	on(page, "visibilitychange", () => {
		if (page?.visibilityState === "visible") wake();
	});
	on(page, "resume", wake);
	return () => {
		for (const one of undo) one();
	};
}
/** Whether the platform knows that there is no network; false where it can't tell. */
function isOffline() {
	return globalThis.navigator?.onLine === false;
}
//#endregion
//#region src/connection.ts
/** A connection that ends sooner than this was none: the next delay goes on from the last one. */
const stableMs = 5e3;
/** A live server answers a probe in one round trip; a slow phone network takes a second or two. */
const probeMs = 3e3;
/** A socket that has been opening for longer than this may hang on a network that is no more. */
const freshMs = 1e3;
/** Not 1000, 1001 or none: those are a goodbye. */
const abandoned = 4e3;
const firstFrame = "ds:server:connection:acknowledged";
const ignore = () => {};
var Connection = class {
	#settings;
	#hooks;
	#events = new Emitter();
	#state = "idle";
	#info;
	#secret;
	#socket;
	#timer;
	#outage;
	#probe;
	#unwatch = ignore;
	#waiter;
	#attempt = 0;
	#dialedAt = 0;
	#connectedAt = 0;
	constructor(settings, hooks) {
		this.#settings = settings;
		this.#hooks = hooks;
	}
	get state() {
		return this.#state;
	}
	get id() {
		return this.#info?.connectionId;
	}
	get clientId() {
		return this.#info?.clientId;
	}
	get node() {
		return this.#info?.node;
	}
	get graceMs() {
		return this.#info?.graceMs;
	}
	on(event, handler) {
		return this.#events.on(event, handler);
	}
	once(event, handler) {
		return this.#events.on(event, handler, true);
	}
	off(event, handler) {
		this.#events.off(event, handler);
	}
	/** Tells users what no call of theirs could be told. */
	report(error) {
		this.#events.emit("error", error);
	}
	/** Connects, or waits for the connection under way. While reconnecting it tries now, also where the platform says offline. */
	open() {
		if (this.#state === "connected" && this.#info !== void 0) return Promise.resolve(this.#info);
		const waiter = this.#waiter ??= newWaiter();
		if (this.#state === "idle") {
			this.#state = "connecting";
			this.#unwatch = watchPlatform({
				offline: () => this.#offline(),
				wake: () => this.#wake()
			});
			this.#hooks.opening();
			this.#dial();
		} else if (this.#state === "reconnecting" && this.#socket === void 0) this.#dial();
		return waiter.promise;
	}
	/** Ends it for good, with a close frame without a code. */
	close() {
		if (this.#state === "idle") return;
		const error = disconnected("disconnect() was called");
		this.#release()?.close();
		this.#idle(error);
		this.#events.emit("disconnect", {
			code: 1005,
			reason: "",
			reconnecting: false
		});
	}
	send(text) {
		this.#socket?.send(text);
	}
	/** Finds out whether the socket still lives; where it does not, takes another one at once. */
	check() {
		if (this.#state !== "connected" || this.#probe !== void 0) return;
		this.#probe = setTimeout(() => {
			this.#release()?.close(abandoned);
			this.#lost({
				code: 1006,
				reason: ""
			}, `no answer within ${probeMs} ms`, true);
		}, probeMs);
		this.#hooks.probe();
	}
	#dial() {
		clearTimeout(this.#timer);
		this.#dialedAt = performance.now();
		if (this.#state === "reconnecting") this.#attempt = Math.max(1, this.#attempt);
		this.#timer = setTimeout(() => {
			const socket = this.#release();
			if (this.#info === void 0) socket?.close();
			else socket?.close(abandoned);
			this.#failed(timedOut(`connecting to ${this.#settings.label}`, this.#settings.connectMs));
		}, this.#settings.connectMs);
		let socket;
		const claim = this.#info && {
			connectionId: this.#info.connectionId,
			secret: this.#secret
		};
		const address = this.#settings.address(claim);
		try {
			socket = new this.#settings.WebSocket(address);
		} catch (error) {
			const cause = error instanceof Error ? error.message : String(error);
			this.#failed(connectFailed(this.#settings.label, cause.replaceAll(address, this.#settings.label)));
			return;
		}
		this.#socket = socket;
		let cause = "";
		socket.onerror = (event) => {
			cause = typeof event?.message === "string" ? event.message : cause;
		};
		socket.onmessage = (event) => this.#message(event.data);
		socket.onclose = (event) => this.#closed(event, cause);
		this.#events.emit("connecting");
	}
	#message(data) {
		clearTimeout(this.#probe);
		this.#probe = void 0;
		let frame;
		try {
			frame = JSON.parse(String(data));
		} catch {
			this.report(protocolError("the server sent a frame that is not JSON"));
			return;
		}
		const { type, body } = frame ?? {};
		if (typeof type !== "string" || typeof body !== "object" || body === null) return;
		if (type === firstFrame) this.#acknowledged(body);
		else this.#hooks.frame({
			type,
			body
		});
	}
	#acknowledged(body) {
		const again = this.#state === "reconnecting";
		if (this.#state === "connected") return;
		clearTimeout(this.#timer);
		clearTimeout(this.#outage);
		const { connectionId, clientId, node, graceMs, resumeSecret } = body;
		const info = {
			connectionId: String(connectionId),
			clientId: clientId === void 0 || clientId === null ? void 0 : String(clientId),
			node: typeof node === "string" ? node : void 0,
			graceMs: typeof graceMs === "number" ? graceMs : void 0
		};
		if (typeof resumeSecret === "string") this.#secret = resumeSecret;
		this.#info = info;
		this.#state = "connected";
		this.#connectedAt = performance.now();
		const attempts = this.#attempt;
		const socket = this.#socket;
		const restored = this.#hooks.ready(again);
		this.#waiter?.resolve(info);
		this.#waiter = void 0;
		this.#events.emit("connect", info);
		if (!again) return;
		restored.then((what) => {
			if (this.#state === "connected" && this.#socket === socket) this.#events.emit("reconnected", attempts, what);
		});
	}
	#closed(event, cause) {
		const { code = 1006, reason = "" } = event ?? {};
		this.#release();
		const why = reason === "" ? cause : reason;
		if (this.#state === "connected") this.#lost({
			code,
			reason
		}, why, false);
		else this.#failed(connectFailed(this.#settings.label, why === "" && code !== 1006 ? `closed with ${code}` : why));
	}
	#lost({ code, reason }, why, now) {
		if (performance.now() - this.#connectedAt >= stableMs) this.#attempt = 0;
		this.#state = "reconnecting";
		this.#hooks.lost(disconnected(`the connection was lost (close code ${code}${why === "" ? "" : `, ${why}`})`), code);
		this.#outage = setTimeout(() => {
			this.#hooks.suspended(disconnected(`the connection is not back after ${this.#settings.suspendMs} ms`));
			this.#events.emit("suspended");
		}, this.#settings.suspendMs);
		this.#events.emit("disconnect", {
			code,
			reason,
			reconnecting: true
		});
		if (this.#state === "reconnecting" && this.#socket === void 0) this.#retry(now);
	}
	#failed(error) {
		clearTimeout(this.#timer);
		if (this.#state === "connecting") {
			this.#idle(error);
			this.report(error);
			return;
		}
		this.report(error);
		if (this.#state === "reconnecting" && this.#socket === void 0) this.#retry(false);
	}
	#retry(now) {
		if (this.#attempt >= this.#settings.attempts) {
			const attempts = this.#attempt;
			this.#idle(disconnected(`gave up after ${attempts} attempts`));
			this.#events.emit("reconnect_failed", attempts);
			return;
		}
		if (isOffline()) {
			this.#events.emit("offline");
			return;
		}
		this.#attempt++;
		const ms = now ? 0 : delayMs(this.#attempt, this.#settings.backoff);
		this.#timer = setTimeout(() => this.#dial(), ms);
		this.#events.emit("reconnecting", this.#attempt, ms);
	}
	#offline() {
		if (this.#state === "reconnecting" && this.#socket === void 0) {
			clearTimeout(this.#timer);
			this.#events.emit("offline");
		} else this.check();
	}
	#wake() {
		if (this.#state === "connected") this.check();
		if (this.#state !== "reconnecting" || isOffline()) return;
		if (this.#socket !== void 0 && performance.now() - this.#dialedAt < freshMs) return;
		this.#release()?.close(abandoned);
		this.#dial();
	}
	#idle(error) {
		clearTimeout(this.#timer);
		clearTimeout(this.#outage);
		this.#unwatch();
		this.#unwatch = ignore;
		this.#state = "idle";
		this.#info = void 0;
		this.#secret = void 0;
		this.#attempt = 0;
		this.#hooks.ended(error);
		this.#waiter?.reject(error);
		this.#waiter = void 0;
	}
	#release() {
		const socket = this.#socket;
		this.#socket = void 0;
		clearTimeout(this.#timer);
		clearTimeout(this.#probe);
		this.#probe = void 0;
		if (socket === void 0) return void 0;
		socket.onmessage = null;
		socket.onclose = null;
		socket.onerror = ignore;
		return socket;
	}
};
function newWaiter() {
	let resolve = ignore;
	let reject = ignore;
	return {
		promise: new Promise((ok, failed) => {
			resolve = ok;
			reject = failed;
		}),
		resolve,
		reject
	};
}
//#endregion
//#region src/requests.ts
/** How long an answer may come late on the next socket: the server's own 2 s and the way. */
const lateMs = 2500;
/** So many requests may wait while there is no socket; more would be refused by the server's rate, too. */
const waitAtMost = 256;
/** Turns data into JSON once. What has no JSON form (a cycle, a function, a BigInt) is refused here. */
function encode(data, field) {
	if (data === void 0) return void 0;
	let text;
	try {
		text = JSON.stringify(data);
	} catch (error) {
		throw invalid(`${field} has no JSON form: ${error instanceof Error ? error.message : String(error)}`, field);
	}
	if (text === void 0) throw invalid(`${field} has no JSON form: it is a ${typeof data}`, field);
	return text;
}
var Requests = class {
	#timeoutMs;
	#unanswered;
	#pending = /* @__PURE__ */ new Map();
	#waiting;
	#send;
	#prefix = Date.now().toString(36) + Math.random().toString(36).slice(2, 8);
	#count = 0;
	/** `unanswered` is called when a request that was sent ran into its deadline. */
	constructor(timeoutMs, unanswered = () => {}) {
		this.#timeoutMs = timeoutMs;
		this.#unanswered = unanswered;
	}
	/** From here on requests wait for {@link open}. */
	wait() {
		this.#waiting ??= /* @__PURE__ */ new Map();
	}
	/** The connection is there: `first` is sent, then what waited, in order. */
	open(send, first = () => {}) {
		const waiting = this.#waiting;
		this.#waiting = void 0;
		this.#send = send;
		for (const [ackId, request] of this.#pending) if (request.sent) this.#arm(ackId, request, lateMs);
		first();
		if (waiting !== void 0) this.flush(waiting);
	}
	/**
	* The socket is lost, and another one will come: what was not sent waits for it. The server closes with
	* 1009 when a frame is over its limit and can't say which: it was the largest, and sending that one again
	* would end the next socket, too.
	*/
	lose(closeCode) {
		this.#send = void 0;
		this.#waiting ??= /* @__PURE__ */ new Map();
		const sent = [...this.#pending].filter(([, request]) => request.sent);
		const largest = closeCode === 1009 ? Math.max(...sent.map(([, { text }]) => text.length)) : void 0;
		for (const [ackId, request] of sent) if (request.text.length === largest) this.#settle(ackId)?.reject(tooLarge(largest));
		else if (request.again) {
			request.sent = false;
			this.#waiting.set(ackId, request.text);
		}
	}
	/** There is no connection to wait for any more: nothing that is not answered ever will be. */
	close(error) {
		this.#send = void 0;
		this.#waiting = void 0;
		for (const ackId of [...this.#pending.keys()]) this.#settle(ackId)?.reject(error);
	}
	/**
	* Sends `ds:client:<type>` before it returns, so that requests go out in the order of the calls.
	* Rejects with the server's error, `timeout` or `disconnected`.
	*/
	request(type, body, { payload, queue, again = false } = {}) {
		if (this.#send === void 0) {
			if (this.#waiting === void 0) return Promise.reject(disconnected(`${type} was not sent: there is no connection`));
			if (this.#pending.size >= waitAtMost) return Promise.reject(disconnected(`${type} was not sent: ${waitAtMost} requests wait for the connection already`));
		}
		const ackId = `${this.#prefix}${(this.#count++).toString(36)}`;
		const text = frame(type, body, payload, ackId);
		return new Promise((resolve, reject) => {
			const request = {
				type,
				text,
				again,
				sent: false,
				deadline: performance.now() + this.#timeoutMs,
				resolve,
				reject,
				timer: 0
			};
			this.#pending.set(ackId, request);
			this.#arm(ackId, request, this.#timeoutMs);
			(queue ?? this.#waiting)?.set(ackId, text);
			if (queue === void 0 && this.#send !== void 0) this.#transmit(request);
		});
	}
	/** Sends what the server answers at once by itself, and doesn't count against the rate. Nobody waits for the answer. */
	probe() {
		this.#send?.(frame("auth:user:unsubscribe", {}, void 0, this.#prefix));
	}
	/** Sends what waits in `queue`, in order, or has it wait for the connection. */
	flush(queue) {
		for (const [ackId, text] of queue) {
			const request = this.#pending.get(ackId);
			if (request === void 0) continue;
			if (this.#send === void 0) this.#waiting?.set(ackId, text);
			else this.#transmit(request);
		}
		queue.clear();
	}
	/** Rejects what waits in `queue`. */
	drop(queue, error) {
		for (const ackId of queue.keys()) this.#settle(ackId)?.reject(error);
		queue.clear();
	}
	/** Takes the body of an acknowledgement; one that nobody waits for any more is dropped. */
	acknowledge(body) {
		const request = this.#settle(String(body["ackId"]));
		if (request === void 0) return;
		const err = body["err"];
		if (typeof err === "object" && err !== null) {
			request.reject(fromWire(err));
			return;
		}
		const revision = body["revision"];
		request.resolve({
			data: body["data"],
			revision: typeof revision === "number" ? revision : void 0
		});
	}
	#transmit(request) {
		request.sent = true;
		this.#send?.(request.text);
	}
	#arm(ackId, request, ms) {
		clearTimeout(request.timer);
		const left = request.deadline - performance.now();
		request.timer = setTimeout(() => {
			this.#pending.delete(ackId);
			request.reject(this.#overdue(request, ms < left));
			if (request.sent && this.#send !== void 0 && ms >= left) this.#unanswered();
		}, Math.max(0, Math.min(ms, left)));
	}
	#overdue({ type, sent }, late) {
		if (!sent) return disconnected(`${type} was not sent: the connection, or its room, was not back within ${this.#timeoutMs} ms`);
		if (late || this.#send === void 0) return disconnected(`${type}: the answer was lost with the connection; it may have been done`);
		return timedOut(type, this.#timeoutMs);
	}
	#settle(ackId) {
		const request = this.#pending.get(ackId);
		this.#pending.delete(ackId);
		clearTimeout(request?.timer);
		return request;
	}
};
function frame(type, body, payload, ackId) {
	let fields = JSON.stringify(body).slice(1, -1);
	if (payload?.text !== void 0) fields += `${fields === "" ? "" : ","}"${payload.field}":${payload.text}`;
	return `{"type":"ds:client:${type}","body":{${fields}},"ackId":"${ackId}"}`;
}
//#endregion
//#region src/members.ts
var MembersMap = class {
	#roster;
	#host;
	#listeners = /* @__PURE__ */ new Set();
	#before = /* @__PURE__ */ new Map();
	#opening;
	#undo;
	constructor(roster, host) {
		this.#roster = roster;
		this.#host = host;
	}
	get revision() {
		return this.#roster.revision;
	}
	get live() {
		return this.#opening !== void 0 && this.#roster.whole && !this.#roster.behind;
	}
	get size() {
		return this.#there.size;
	}
	get(id) {
		return this.#there.get(id);
	}
	has(id) {
		return this.#there.has(id);
	}
	keys() {
		return this.#there.keys();
	}
	values() {
		return this.#there.values();
	}
	entries() {
		return this.#there.entries();
	}
	[Symbol.iterator]() {
		return this.#there.entries();
	}
	forEach(each) {
		for (const [id, member] of this.#there) each(member, id, this);
	}
	get [Symbol.toStringTag]() {
		return "Members";
	}
	async ready() {
		await this.#open();
		return this;
	}
	onChange(listener) {
		const entry = { listener };
		this.#listeners.add(entry);
		this.#open().catch((error) => this.#host.report(error));
		return () => {
			this.#listeners.delete(entry);
		};
	}
	async close() {
		const undo = this.#undo;
		this.#undo = this.#opening = void 0;
		await undo?.();
	}
	/** The roster's. */
	changed(id, before) {
		if (this.#listeners.size === 0 || this.#opening === void 0 || !this.#roster.whole) return;
		if (this.#before.size === 0) queueMicrotask(() => this.#tell());
		if (!this.#before.has(id)) this.#before.set(id, before);
	}
	get #there() {
		return this.#opening !== void 0 && this.#roster.whole ? this.#roster.known : nobody;
	}
	#open() {
		if (this.#opening !== void 0) return this.#opening;
		const opening = this.#opening = this.#host.open().then((undo) => {
			if (this.#opening !== opening) return undo();
			this.#undo = undo;
		}, (error) => {
			if (this.#opening === opening) this.#opening = void 0;
			throw error;
		});
		for (const id of this.#roster.known.keys()) this.changed(id, void 0);
		return opening;
	}
	#tell() {
		const change = {
			joined: [],
			updated: [],
			left: []
		};
		for (const [id, before] of this.#before) {
			const now = this.#roster.known.get(id);
			if (before !== void 0 && before.timestamp === now?.timestamp) {
				if (before !== now) change.updated.push(now);
				continue;
			}
			if (before !== void 0) change.left.push(before);
			if (now !== void 0) change.joined.push(now);
		}
		this.#before.clear();
		if (change.joined.length + change.updated.length + change.left.length === 0) return;
		for (const entry of [...this.#listeners]) if (this.#listeners.has(entry)) call(entry.listener, [change, this]);
	}
};
const nobody = /* @__PURE__ */ new Map();
//#endregion
//#region src/roster.ts
var Roster = class {
	#host;
	/** By connection id, in the order of joining. */
	known = /* @__PURE__ */ new Map();
	/** Whether `known` is all. */
	whole = false;
	/** The revision at which `known` is true. */
	revision = 0;
	#base = 0;
	#told;
	#at;
	#heardAt = "";
	#journal = [];
	#lists = 0;
	#outage;
	#ended = /* @__PURE__ */ new Map();
	constructor(host) {
		this.#host = host;
	}
	hear(body, tell) {
		const event = body;
		const { connectionId: id, revision } = event;
		if (!this.#host.follows(event.event)) return;
		if (typeof revision !== "number" || typeof id !== "string") {
			tell(body);
			return;
		}
		if (this.#toldBefore(event) || this.#meaningless(event)) return;
		if (revision !== this.#told) [this.#told, this.#at] = [revision, /* @__PURE__ */ new Set()];
		this.#at?.add(keyOf(event));
		if (event.timestamp > this.#heardAt) this.#heardAt = event.timestamp;
		this.#outage?.since.set(id, revision);
		if (this.#lists > 0) this.#journal.push(event);
		const known = this.#certain(revision) ? this.known.get(id) : void 0;
		this.#fold(event);
		if (event.event === "join" && known !== void 0) this.#host.tell(leaveOf(known, revision));
		tell(body);
	}
	lapsed(name) {
		if (name !== "update") this.#forget();
		if (![
			"join",
			"update",
			"leave"
		].some((one) => this.#host.follows(one))) this.#told = this.#outage = void 0;
	}
	/** Whether there was an outage that is not caught up with. */
	get behind() {
		return this.#outage !== void 0;
	}
	/** The socket is gone: from here on something may be missed. */
	lose() {
		this.#outage ??= {
			told: this.#told,
			heardAt: this.#heardAt,
			since: /* @__PURE__ */ new Map()
		};
	}
	/** Whatever became of it, the outage is over. */
	settled() {
		this.#outage = void 0;
	}
	/** Everything ends with the room. */
	end() {
		this.#forget();
		this.#told = this.#outage = void 0;
	}
	/** Fetches a list; what is heard meanwhile is kept for what is made of it. */
	async fetch(get, use) {
		this.#lists++;
		try {
			const list = await get();
			use(list);
			return list;
		} finally {
			if (--this.#lists === 0) this.#journal = [];
		}
	}
	/** The application has this list, or `members` begins with it. Handlers are told nothing. */
	learn = (list) => {
		if (!this.#tracks() || this.behind) return;
		const before = new Map(this.whole ? this.known : []);
		this.#take(list);
		this.#compare(before);
	};
	/** The list after an outage: handlers are told what they were not. */
	catchUp = (list) => {
		const { told, heardAt, since } = this.#outage ?? {
			told: void 0,
			heardAt: "",
			since: /* @__PURE__ */ new Map()
		};
		this.#outage = void 0;
		const before = new Map(this.known);
		const missed = [];
		for (const member of byJoin(list).sort((a, b) => a.revision - b.revision)) {
			const { connectionId: id, timestamp, revision } = member;
			const known = before.get(id);
			const newer = told !== void 0 && revision > told;
			if ((since.get(id) ?? 0) >= revision) continue;
			if (known !== void 0 && known.timestamp !== timestamp) missed.push(leaveOf(known, revision));
			if (known?.timestamp === timestamp) {
				if (revision > known.revision) missed.push(updateOf(member));
			} else if (known !== void 0 || this.whole || newer && timestamp > heardAt) missed.push(structuredClone({
				...member,
				event: "join"
			}));
			else if (newer) missed.push(updateOf(member));
		}
		const there = new Set(list.map(({ connectionId }) => connectionId));
		if (list.revision > 0) this.#ended.clear();
		const end = list.revision > 0 ? list.revision : Math.max(this.revision, this.#told ?? 0) + 1;
		for (const [id, member] of before) {
			if (there.has(id) || (since.get(id) ?? 0) > list.revision) continue;
			missed.push(leaveOf(member, end));
			if (list.revision === 0) this.#ended.set(id, member.timestamp);
		}
		if (list.revision > 0 && (since.size === 0 || (this.#told ?? 0) <= list.revision)) [this.#told, this.#at] = [list.revision, void 0];
		if (this.#tracks()) {
			const shown = this.whole ? before : /* @__PURE__ */ new Map();
			this.#take(list);
			this.#compare(shown);
		}
		for (const event of missed) this.#host.tell(event);
	};
	#toldBefore(heard) {
		const { event, connectionId: id, revision, timestamp } = heard;
		const ended = this.#ended.get(id);
		if (ended !== void 0) {
			if (event !== "join" || timestamp === ended) return true;
			this.#ended.delete(id);
		}
		if (this.#told === void 0 || revision > this.#told) return false;
		return revision < this.#told || this.#at === void 0 || this.#at.has(keyOf(heard));
	}
	#meaningless({ event, connectionId, revision }) {
		return this.#certain(revision) && event !== "join" && !this.known.has(connectionId);
	}
	#certain(revision) {
		return this.whole && this.#tracks() && revision > this.#base;
	}
	#fold(event) {
		if (!this.#tracks() || event.revision <= this.#base) return;
		const { connectionId: id } = event;
		const before = this.known.get(id);
		this.revision = Math.max(this.revision, event.revision);
		this.#apply(event);
		if (this.known.get(id) !== before) this.#host.changed(id, before);
	}
	#apply(heard) {
		const { event, ...fields } = structuredClone(heard);
		const known = this.known.get(fields.connectionId);
		if (event === "leave") this.known.delete(fields.connectionId);
		else if (event === "join") {
			this.known.delete(fields.connectionId);
			this.known.set(fields.connectionId, fields);
		} else if (known !== void 0) this.known.set(fields.connectionId, {
			...fields,
			timestamp: known.timestamp
		});
	}
	#take(list) {
		this.known.clear();
		for (const listed of byJoin(list)) {
			const { event: _event, ...member } = structuredClone(listed);
			this.known.set(member.connectionId, member);
		}
		this.#base = this.revision = list.revision;
		this.whole = true;
		const newest = list[0]?.timestamp ?? "";
		if (newest > this.#heardAt) this.#heardAt = newest;
		for (const event of this.#journal) {
			if (event.revision <= list.revision) continue;
			this.revision = Math.max(this.revision, event.revision);
			this.#apply(event);
		}
	}
	#compare(before) {
		for (const id of new Set([...before.keys(), ...this.known.keys()])) {
			const was = before.get(id);
			const is = this.known.get(id);
			if (was?.revision !== is?.revision || was?.timestamp !== is?.timestamp) this.#host.changed(id, was);
			else if (was !== void 0) this.known.set(id, was);
		}
	}
	#tracks() {
		return this.#host.follows("join") && this.#host.follows("leave");
	}
	#forget() {
		const before = new Map(this.known);
		this.known.clear();
		this.#ended.clear();
		this.whole = false;
		this.#base = this.revision = 0;
		this.#compare(before);
	}
};
const byJoin = (list) => [...list].reverse().sort((a, b) => a.timestamp < b.timestamp ? -1 : a.timestamp > b.timestamp ? 1 : 0);
const keyOf = ({ event, connectionId }) => `${event} ${connectionId}`;
const found = () => (/* @__PURE__ */ new Date()).toISOString();
function updateOf(member) {
	return structuredClone({
		...member,
		event: "update",
		timestamp: found()
	});
}
function leaveOf(member, revision) {
	return structuredClone({
		...member,
		event: "leave",
		timestamp: found(),
		revision,
		reason: "unknown"
	});
}
//#endregion
//#region src/subscriptions.ts
const straight = {
	hear: (body, tell) => tell(body),
	lapsed: () => {}
};
/** Finds the topics of a frame by its `type`. */
var Router = class {
	#topics = /* @__PURE__ */ new Map();
	add(type, topic) {
		this.#topics.set(type, (this.#topics.get(type) ?? /* @__PURE__ */ new Set()).add(topic));
	}
	remove(type, topic) {
		const topics = this.#topics.get(type);
		topics?.delete(topic);
		if (topics?.size === 0) this.#topics.delete(type);
	}
	dispatch(type, body) {
		for (const topic of [...this.#topics.get(type) ?? []]) topic.deliver(body);
	}
};
var Topic = class {
	#name;
	#kind;
	#inlet;
	#entries = /* @__PURE__ */ new Set();
	#bound;
	/** The server may still send them: it was never told that they are not wanted. */
	owed = false;
	#type;
	constructor(name, kind, inlet) {
		this.#name = name;
		this.#kind = kind;
		this.#inlet = inlet;
	}
	get used() {
		return this.#entries.size > 0;
	}
	/** Whether the SDK itself wants the events. */
	get kept() {
		return [...this.#entries].some(({ handler }) => handler === void 0);
	}
	attach(router, nsp) {
		this.detach(router);
		this.#type = this.#kind.type(nsp, this.#name);
		router.add(this.#type, this);
	}
	detach(router) {
		if (this.#type !== void 0) router.remove(this.#type, this);
		this.#type = void 0;
	}
	/** Returns what takes the handler back; its promise settles with the server's answer. */
	async add(handler, send) {
		const entry = { handler };
		this.#entries.add(entry);
		for (;;) {
			const bound = this.#bound ??= send(this.#kind.bind(this.#name));
			try {
				await bound;
				break;
			} catch (error) {
				if (this.#bound !== void 0 && this.#bound !== bound && this.#entries.has(entry)) continue;
				this.#entries.delete(entry);
				if (this.#bound === bound) this.#bound = void 0;
				throw error;
			}
		}
		return () => {
			this.#entries.delete(entry);
			return this.#settle(send);
		};
	}
	remove(handler, send) {
		for (const entry of this.#entries) if (entry.handler !== void 0 && (handler === void 0 || entry.handler === handler)) this.#entries.delete(entry);
		return this.#settle(send);
	}
	/** Forgets all handlers; the caller has told the server, or need not. */
	clear() {
		this.#entries.clear();
		this.#bound = void 0;
		this.#inlet.lapsed(this.#name);
	}
	/** Asks again on a socket whose server may know nothing of this topic; undefined: nothing to ask. */
	restore(send) {
		if (!this.used && !this.owed) return void 0;
		const { used } = this;
		this.#bound = void 0;
		this.owed = used;
		const asked = send(used ? this.#kind.bind(this.#name) : this.#kind.unbind(this.#name));
		asked.then(() => {
			if (!this.used || !used) return;
			this.#bound = asked;
			this.owed = false;
		}).catch(() => {});
		return asked;
	}
	deliver(body) {
		if (this.#kind.accepts(this.#name, body)) this.#inlet.hear(body, this.tell);
	}
	tell = (body) => {
		const entries = [...this.#entries].filter(({ handler }) => handler !== void 0);
		for (const [i, entry] of entries.entries()) {
			if (!this.#entries.has(entry) || entry.handler === void 0) continue;
			call(entry.handler, [i < entries.length - 1 ? structuredClone(body) : body]);
		}
	};
	async #settle(send) {
		if (this.#entries.size > 0 || this.#bound === void 0 && !this.owed) return;
		this.#bound = void 0;
		this.#inlet.lapsed(this.#name);
		this.owed = true;
		this.owed = !await quietly(send(this.#kind.unbind(this.#name)));
	}
};
/** The subscriptions of one kind in one room. */
var Subscriptions = class {
	#kind;
	#router;
	#send;
	#inlet;
	#topics = /* @__PURE__ */ new Map();
	#nsp;
	constructor(kind, router, send, inlet = straight) {
		this.#kind = kind;
		this.#router = router;
		this.#send = send;
		this.#inlet = inlet;
	}
	/** Whether anyone wants events, or those of that name. */
	used(name) {
		if (name !== void 0) return this.#topics.get(name)?.used ?? false;
		return [...this.#topics.values()].some((topic) => topic.used);
	}
	/** The room's name on this connection is known: events can come. */
	attach(nsp) {
		this.#nsp = nsp;
		for (const topic of this.#topics.values()) topic.attach(this.#router, nsp);
	}
	/** The room is no more: nothing is delivered from here on. */
	detach() {
		this.#nsp = void 0;
		for (const topic of this.#topics.values()) {
			topic.clear();
			topic.detach(this.#router);
		}
		this.#topics.clear();
	}
	/** One handler for several names: all of them, or none and the first error. */
	async subscribe(names, handler) {
		if (typeof handler !== "function") throw invalid("the handler is not a function", "handler");
		return this.follow(names, handler);
	}
	/** The same; without a handler it only keeps the events coming. */
	async follow(names, handler) {
		const results = await Promise.allSettled(names.map((name) => this.#topic(name).add(handler, this.#send)));
		const undo = results.flatMap((result) => result.status === "fulfilled" ? [result.value] : []);
		const unsubscribe = async () => {
			await Promise.all(undo.map((one) => one()));
		};
		const failed = results.find((result) => result.status === "rejected");
		if (failed === void 0) return unsubscribe;
		await unsubscribe().catch(() => {});
		throw failed.reason;
	}
	async unsubscribe(name, handler) {
		if (name === void 0 && handler === void 0) return this.#unsubscribeAll();
		const topics = name === void 0 ? [...this.#topics.values()] : [this.#topics.get(name)];
		await Promise.all(topics.map((topic) => topic?.remove(handler, this.#send)));
	}
	/** Calls the handlers of an event that no frame brought. */
	tell(name, body) {
		this.#topics.get(name)?.tell(body);
	}
	/** The topics with handlers, as requests to send again; `send` goes past the room's queue. */
	restore(send) {
		return [...this.#topics.values()].map((topic) => topic.restore(send)).filter((request) => request !== void 0);
	}
	async #unsubscribeAll() {
		const topics = [...this.#topics.values()].filter((topic) => topic.used);
		if (topics.some((topic) => topic.kept)) {
			await Promise.all(topics.map((topic) => topic.remove(void 0, this.#send)));
			return;
		}
		if (topics.length === 0) return;
		for (const topic of topics) topic.clear();
		for (const topic of topics) topic.owed = true;
		const told = await quietly(this.#send(this.#kind.unbind()));
		for (const topic of topics) topic.owed = !told;
	}
	#topic(name) {
		const known = this.#topics.get(name);
		if (known !== void 0) return known;
		const topic = new Topic(name, this.#kind, this.#inlet);
		this.#topics.set(name, topic);
		if (this.#nsp !== void 0) topic.attach(this.#router, this.#nsp);
		return topic;
	}
};
async function quietly(request) {
	try {
		await request;
	} catch (error) {
		if (!(error instanceof RelayBoxError) || error.code !== "disconnected" && error.code !== "not_in_room") throw error;
		return error.code !== "disconnected";
	}
	return true;
}
//#endregion
//#region src/presence.ts
const kind$1 = {
	type: (nsp, name) => `${nsp}:$:presence:${name}`,
	accepts: (name, body) => body["event"] === name,
	bind: (name) => ({
		type: "room:presence:subscribe",
		fields: { event: name }
	}),
	unbind: (name) => name === void 0 ? {
		type: "room:presence:unsubscribe:all",
		fields: {}
	} : {
		type: "room:presence:unsubscribe",
		fields: { event: name }
	}
};
const allEvents = [
	"join",
	"update",
	"leave"
];
var PresenceSet = class {
	#request;
	#self;
	#roster;
	members;
	subscriptions;
	#membership;
	#owed;
	#calls = 0;
	#decidedBy = 0;
	constructor({ router, self, request, report }) {
		this.#request = request;
		this.#self = self;
		const members = new MembersMap(this.#roster = new Roster({
			follows: (name) => this.subscriptions.used(name),
			tell: (event) => this.subscriptions.tell(event.event, event),
			changed: (id, before) => members.changed(id, before)
		}), {
			open: () => this.#follow(),
			report
		});
		this.members = members;
		const send = ({ type, fields }) => request(type, fields);
		this.subscriptions = new Subscriptions(kind$1, router, send, this.#roster);
	}
	async join(data) {
		await this.#enter("room:presence:join", encode(data, "data"));
	}
	async update(data) {
		await this.#enter("room:presence:update", encode(data, "data"));
	}
	async leave(data) {
		const text = encode(data, "data");
		const call = ++this.#calls;
		const before = this.#membership;
		this.#decide(call, void 0);
		const owed = this.#owed = { text };
		try {
			await this.#request("room:presence:leave", {}, {
				field: "userData",
				text
			});
			if (this.#owed === owed) this.#owed = void 0;
		} catch (error) {
			if (!(error instanceof RelayBoxError)) throw error;
			if (error.code === "not_in_room") return;
			if (error.status !== void 0 && this.#decidedBy === call) {
				this.#membership = before;
				this.#owed = void 0;
			}
			throw error;
		}
	}
	async get(options = {}) {
		if (options.limit !== void 0) return list(await this.#request("room:presence:get", { limit: options.limit }));
		return this.#roster.fetch(async () => list(await this.#request("room:presence:get")), this.#roster.learn);
	}
	async getCount() {
		const { data } = await this.#request("room:presence:count");
		return Number(data);
	}
	subscribe(first, handler) {
		if (typeof first === "function") return this.subscriptions.subscribe(allEvents, first);
		return this.subscriptions.subscribe([first], handler);
	}
	unsubscribe(first, handler) {
		if (typeof first === "function") return this.subscriptions.unsubscribe(void 0, first);
		return this.subscriptions.unsubscribe(first, handler);
	}
	/** Whether this connection is a member, as far as we know. */
	get entered() {
		return this.#membership !== void 0;
	}
	/** The socket is gone. */
	lose() {
		this.#roster.lose();
	}
	/** The room is in place again: what an outage hid was told as far as it could be. */
	settled() {
		this.#roster.settled();
	}
	/** The room is no more. */
	end() {
		this.members.close();
		this.subscriptions.detach();
		this.#roster.end();
		this.#membership = this.#owed = void 0;
	}
	/**
	* After an outage, once the room and its subscriptions are in place: handlers are told what they missed, and
	* what the server no longer has of our membership is made anew. Answers whether that was so. A join that was
	* kept must not be sent again, since it would be an event, also where the answer to one was lost: hence the list.
	* `enter` sees to it that a join finds the room.
	*/
	async restore(request, insist, enter) {
		const send = (word, { text }) => request(`room:presence:${word}`, {}, {
			field: "userData",
			text
		});
		const owed = this.#owed;
		if (this.#membership === void 0 && owed !== void 0) {
			await insist(() => send("leave", owed));
			if (this.#owed === owed) this.#owed = void 0;
		}
		let anew = false;
		await insist(async () => {
			if (this.#membership === void 0 && !this.subscriptions.used()) return;
			const there = await this.#catchUp(request);
			const membership = this.#membership;
			if (membership === void 0 || there === true) return;
			if (there === void 0 && await isMember(send("update", membership))) return;
			if (!anew) await enter();
			anew = true;
			await send("join", membership);
		});
		return anew;
	}
	async #catchUp(request) {
		try {
			return (await this.#roster.fetch(async () => list(await request("room:presence:get")), this.#roster.catchUp)).some(({ connectionId }) => connectionId === this.#self());
		} catch (error) {
			if (error instanceof RelayBoxError && error.code === "too_large") return void 0;
			throw error;
		}
	}
	async #follow() {
		const undo = await this.subscriptions.follow(allEvents);
		try {
			do
				await this.#roster.fetch(async () => list(await this.#request("room:presence:get")), this.#roster.learn);
			while (!this.#roster.whole);
		} catch (error) {
			if (!this.#roster.whole) {
				await undo().catch(() => {});
				throw error;
			}
		}
		return undo;
	}
	async #enter(type, text) {
		const call = ++this.#calls;
		await this.#request(type, {}, {
			field: "userData",
			text
		});
		this.#owed = void 0;
		this.#decide(call, { text });
	}
	#decide(call, membership) {
		if (call < this.#decidedBy) return;
		this.#decidedBy = call;
		this.#membership = membership;
	}
};
function list({ data, revision }) {
	return Object.defineProperty(Array.isArray(data) ? data : [], "revision", { value: revision ?? 0 });
}
async function isMember(update) {
	try {
		await update;
		return true;
	} catch (error) {
		if (error instanceof RelayBoxError && (error.code === "not_member" || error.code === "not_in_room")) return false;
		throw error;
	}
}
//#endregion
//#region src/room.ts
const all = "$:subscribe:all";
const kind = {
	type: (nsp, name) => `${nsp}::${name}`,
	accepts: (name, body) => name === all || body["event"] === name,
	bind: (name) => ({
		type: "room:subscription:bind",
		fields: { event: name }
	}),
	unbind: (name) => ({
		type: "room:subscription:unbind",
		fields: { event: name }
	})
};
/** Doing them twice does no harm, so that they are sent again when their socket is lost. */
const harmless = /:(leave|get|count|unbind|unsubscribe)(:all)?$/;
var JoinedRoom = class {
	id;
	presence;
	#host;
	#messages;
	#phase = "joining";
	#waiting = /* @__PURE__ */ new Map();
	#ended;
	#leaving;
	constructor(id, host) {
		this.id = id;
		this.#host = host;
		this.presence = new PresenceSet({
			router: host.router,
			self: host.self,
			request: (type, fields, payload) => this.#call(type, fields, payload),
			report: host.report
		});
		this.#messages = new Subscriptions(kind, host.router, ({ type, fields }) => this.#call(type, fields));
	}
	/** The leave under way, for who wants to join again after it. */
	get leaving() {
		return this.#leaving;
	}
	subscribe(first, handler) {
		if (typeof first === "function") return this.#messages.subscribe([all], first);
		return this.#messages.subscribe([first], handler);
	}
	unsubscribe(first, handler) {
		if (typeof first === "function") return this.#messages.unsubscribe(void 0, first);
		return this.#messages.unsubscribe(first, handler);
	}
	async publish(event, data) {
		const text = encode(data, "data");
		return (await this.#call("publish", { event }, {
			field: "data",
			text
		})).data;
	}
	leave() {
		if (this.#ended !== void 0) return Promise.resolve();
		return this.#leaving ??= this.#leave();
	}
	/** Whether there is something to restore. */
	get away() {
		return this.#phase === "away";
	}
	/** Joins, after `before` has settled. Rejects, and ends the room, when the server refuses. */
	async enter(before) {
		try {
			if (before !== void 0) await before.catch(() => {});
			await this.#join();
		} catch (error) {
			this.end(error);
			throw error;
		}
		this.#open();
	}
	/** The socket is gone; another one is on its way. */
	lose() {
		if (this.#phase === "joining") return;
		this.#phase = "away";
		this.presence.lose();
	}
	/** Puts in place what the server no longer has. Goes on until it is done, refused, or the socket ends. */
	async restore(recovery) {
		while (this.away && this.#ended === void 0 && !recovery.signal.aborted) if (this.#leaving === void 0) await this.#restore(recovery);
		else await this.#leaving.catch(() => {});
	}
	async #restore(recovery) {
		const { signal, restored } = recovery;
		const insist = (work) => this.#insist(work, signal);
		let unsure;
		try {
			unsure = await this.#return(recovery);
		} catch (error) {
			if (this.#over(signal)) return;
			this.#host.report(error);
			this.end(error);
			return;
		}
		try {
			const enter = () => unsure ? this.#rejoin(recovery) : Promise.resolve();
			if (await this.presence.restore(this.#request, insist, enter)) restored.memberships.push(this.id);
		} catch (error) {
			if (!this.#over(signal)) this.#host.report(error);
		}
		if (!this.#over(signal)) this.#open();
	}
	/** Nothing is delivered from here on; every call but the taking back of something rejects with `error`. */
	end(error, told = true) {
		if (this.#ended !== void 0) return;
		this.#ended = error;
		this.#host.requests.drop(this.#waiting, error);
		this.#messages.detach();
		this.presence.end();
		this.#host.ended(this, told);
	}
	async #leave() {
		try {
			await (this.#phase === "away" ? this.#request("room:leave") : this.#call("room:leave"));
		} catch (error) {
			this.#leaving = void 0;
			if (error instanceof RelayBoxError && error.code === "disconnected") this.end(error, false);
			throw error;
		}
		this.end(new RelayBoxError({
			name: "NotInRoomError",
			code: "not_in_room",
			status: 409,
			message: `room "${this.id}" was left; call relayBox.join() again`
		}));
	}
	async #return(recovery) {
		const { signal } = recovery;
		const subscribed = this.#messages.used() || this.presence.subscriptions.used();
		if (!recovery.gone) {
			if (subscribed && await this.#subscribe(signal)) return false;
			if (!subscribed && this.presence.entered) return true;
			recovery.gone ||= subscribed;
		}
		await this.#rejoin(recovery);
		if (recovery.gone) recovery.restored.rooms.push(this.id);
		await this.#subscribe(signal);
		return false;
	}
	async #rejoin({ signal, pace }) {
		await pace.turn(signal);
		await this.#insist(() => this.#join(), signal);
	}
	async #subscribe(signal) {
		const send = ({ type, fields }) => this.#insist(() => this.#request(type, fields), signal);
		const errors = (await Promise.allSettled([...this.#messages.restore(send), ...this.presence.subscriptions.restore(send)])).flatMap((result) => result.status === "rejected" ? [result.reason] : []);
		signal.throwIfAborted();
		if (errors.some(({ code }) => code === "not_in_room")) return false;
		for (const error of errors) this.#host.report(error);
		return true;
	}
	async #join() {
		const { data } = await this.#host.requests.request("room:join", { roomId: this.id }, { again: this.#phase === "joining" });
		const nsp = typeof data === "string" ? data : data?.nspRoomId;
		if (typeof nsp !== "string") throw protocolError(`the answer to the join of "${this.id}" names no room`);
		this.#messages.attach(nsp);
		this.presence.subscriptions.attach(nsp);
	}
	#open() {
		this.#phase = "open";
		this.presence.settled();
		this.#host.requests.flush(this.#waiting);
	}
	#request = (type, fields, payload) => this.#host.requests.request(type, {
		roomId: this.id,
		...fields
	}, {
		payload,
		again: type === "room:leave"
	});
	#call(type, fields, payload) {
		if (this.#ended !== void 0) return Promise.reject(this.#ended);
		const queue = this.#phase === "open" ? void 0 : this.#waiting;
		return this.#host.requests.request(type, {
			roomId: this.id,
			...fields
		}, {
			payload,
			queue,
			again: harmless.test(type)
		});
	}
	#over(signal) {
		return signal.aborted || this.#leaving !== void 0 || this.#ended !== void 0;
	}
	async #insist(work, signal) {
		for (let attempt = 1;; attempt++) {
			signal.throwIfAborted();
			if (this.#over(signal)) throw this.#ended ?? /* @__PURE__ */ new Error("the room is being left");
			try {
				return await work();
			} catch (error) {
				if (this.#over(signal) || !(error instanceof RelayBoxError) || !error.retry) throw error;
				await pause(error.retryAfterMs ?? delayMs(attempt, this.#host.backoff), signal);
			}
		}
	}
};
/**
* The room before the server has answered: its calls are those of the room, which holds them back
* until then. Awaiting it gives the room itself, which has no `then`: else `await` would never end.
*/
var PendingRoom = class {
	#room;
	#joined;
	#watched = false;
	constructor(room, joined, report) {
		this.#room = room;
		this.#joined = joined.then(() => room);
		this.#joined.catch((error) => {
			if (!this.#watched) report(error);
		});
	}
	get id() {
		return this.#room.id;
	}
	get presence() {
		return this.#watch().presence;
	}
	subscribe(first, handler) {
		return this.#watch().subscribe(first, handler);
	}
	unsubscribe(first, handler) {
		return this.#watch().unsubscribe(first, handler);
	}
	publish(event, data) {
		return this.#watch().publish(event, data);
	}
	leave() {
		return this.#watch().leave();
	}
	then(ok, failed) {
		this.#watched = true;
		return this.#joined.then(ok, failed);
	}
	catch(failed) {
		return this.then(null, failed);
	}
	finally(done) {
		this.#watched = true;
		return this.#joined.finally(done);
	}
	#watch() {
		this.#watched = true;
		return this.#room;
	}
};
//#endregion
//#region src/relaybox.ts
const defaultPort = 9e3;
/** Rooms that are put in place at the same time after a reconnect. */
const roomsAtOnce = 8;
/**
* Joins are let through at this pace after a reconnect: two thirds of what the server lets in (30 in 5 s, with
* publishes and updates), so that the application's own requests find room.
*/
const joinsAtOnce = 20;
const joinEveryMs = 250;
const acknowledgement = "ds:server:message:acknowledged";
var RelayBox = class {
	/** The state of the connection, its facts and its events. */
	connection;
	#connection;
	#requests;
	#router = new Router();
	#rooms = /* @__PURE__ */ new Map();
	#host;
	#left = /* @__PURE__ */ new Set();
	#socketLife = new AbortController();
	/** Throws a `RelayBoxError` with code `invalid` for options that can't work. Opens nothing. */
	constructor(options) {
		const { reconnect = {}, timeouts = {} } = options ?? {};
		const backoff = {
			baseMs: reconnect.baseMs ?? 500,
			capMs: reconnect.capMs ?? 1e4
		};
		const { label, address } = addressOf(options ?? {});
		const requestMs = timeouts.requestMs ?? 1e4;
		this.#requests = new Requests(requestMs, () => this.#connection.check());
		this.#connection = new Connection({
			label,
			address,
			WebSocket: socketOf(options),
			connectMs: timeouts.connectMs ?? 1e4,
			suspendMs: requestMs,
			backoff,
			attempts: reconnect.attempts ?? Infinity
		}, {
			opening: () => this.#requests.wait(),
			ready: (again) => this.#ready(again),
			lost: (error, closeCode) => this.#lost(error, closeCode),
			suspended: (error) => this.#requests.close(error),
			ended: (error) => this.#end(error),
			probe: () => this.#requests.probe(),
			frame: (frame) => this.#frame(frame)
		});
		this.connection = this.#connection;
		this.#host = {
			router: this.#router,
			backoff,
			requests: this.#requests,
			self: () => this.#connection.id,
			report: (error) => this.#connection.report(error),
			ended: (room, told) => {
				if (this.#rooms.get(room.id)?.room === room) this.#rooms.delete(room.id);
				if (!told) this.#left.add(room.id);
			}
		};
	}
	/** `appId:connectionPart`; undefined without a connection, as the next three. */
	get connectionId() {
		return this.#connection.id;
	}
	/** The clientId as the server has it: always text. */
	get clientId() {
		return this.#connection.clientId;
	}
	/** The node that holds the socket. */
	get node() {
		return this.#connection.node;
	}
	/** How long, in milliseconds, the server keeps the memberships of a lost socket. */
	get graceMs() {
		return this.#connection.graceMs;
	}
	/** Resolves with the server's first frame. Rejects when there is none; then nothing goes on trying. */
	connect() {
		return this.#connection.open();
	}
	/**
	* Ends every membership, subscription and room at once. Requests under way reject with
	* `disconnected`. Handlers of `connection` stay, and `connect()` begins afresh.
	*/
	disconnect() {
		this.#connection.close();
	}
	/**
	* Joins a room. The result can be used at once, its calls then wait for the join, or be awaited.
	* Joining again gives the same room.
	*/
	join(roomId) {
		const known = this.#rooms.get(roomId);
		if (known !== void 0 && known.room.leaving === void 0) return this.#pending(known);
		const room = new JoinedRoom(roomId, this.#host);
		const entry = {
			room,
			joined: Promise.resolve()
		};
		this.#rooms.set(roomId, entry);
		entry.joined = room.enter(known?.room.leaving);
		return this.#pending(entry);
	}
	/** Makes a room known without joining it; one that exists is no error. */
	async create(roomId, options = {}) {
		const { visibility, password, roomName } = options;
		const { data } = await this.#requests.request("room:create", {
			roomId,
			visibility,
			password,
			roomName
		}, { again: true });
		return data;
	}
	#pending({ room, joined }) {
		return new PendingRoom(room, joined, (error) => this.#connection.report(error));
	}
	#frame({ type, body }) {
		if (type === acknowledgement) this.#requests.acknowledge(body);
		else this.#router.dispatch(type, body);
	}
	#ready(again) {
		this.#socketLife = new AbortController();
		const left = [...this.#left];
		this.#left.clear();
		this.#requests.open((text) => this.#connection.send(text), () => this.#leaveAll(left));
		return this.#restore(this.#socketLife.signal, again);
	}
	#lost(error, closeCode) {
		this.#socketLife.abort(error);
		this.#requests.lose(closeCode);
		for (const { room } of this.#rooms.values()) room.lose();
	}
	#end(error) {
		this.#socketLife.abort(error);
		for (const { room } of [...this.#rooms.values()]) room.end(error);
		this.#requests.close(error);
		this.#left.clear();
	}
	#leaveAll(left) {
		for (const roomId of left) this.#requests.request("room:leave", { roomId }, { again: true }).catch(() => {
			if (!this.#rooms.has(roomId)) this.#left.add(roomId);
		});
	}
	async #restore(signal, again) {
		const restored = {
			resumed: true,
			rooms: [],
			memberships: []
		};
		if (!again) return restored;
		const recovery = {
			signal,
			pace: new Pace(joinsAtOnce, joinEveryMs),
			gone: false,
			restored
		};
		const next = [...this.#rooms.values()].map(({ room }) => room).filter((room) => room.away).values();
		const work = async () => {
			for (const room of next) await room.restore(recovery);
		};
		await Promise.all(Array.from({ length: roomsAtOnce }, work));
		restored.resumed = restored.rooms.length + restored.memberships.length === 0;
		return restored;
	}
};
function socketOf(options) {
	const constructor = options.WebSocket ?? globalThis.WebSocket;
	if (constructor === void 0) throw invalid("this platform has no WebSocket: pass one as the option WebSocket, such as that of the package ws", "WebSocket");
	return constructor;
}
function addressOf({ apiKey, clientId, url, offline }) {
	if (typeof apiKey !== "string" || apiKey === "") throw invalid("apiKey is required: \"appId.keyId:secret\"", "apiKey");
	if (clientId !== void 0 && clientId !== null && typeof clientId !== "string" && !Number.isFinite(clientId)) throw invalid("clientId must be a string or a number", "clientId");
	const given = url ?? offline?.coreServiceUrl ?? `ws://localhost:${offline?.port ?? defaultPort}/core`;
	const base = parse(given);
	if (base === void 0 || !/^(ws|http)s?:$/.test(base.protocol)) throw invalid(`url "${given}" is not an address; want ws://host:port/core`, "url");
	base.protocol = base.protocol.replace("http", "ws");
	return {
		label: `${base.protocol}//${base.host}${base.pathname}`,
		address(claim) {
			const address = new URL(base);
			address.searchParams.set("apiKey", apiKey);
			if (clientId !== void 0 && clientId !== null && clientId !== "") address.searchParams.set("clientId", String(clientId));
			address.searchParams.set("features", "resume");
			if (claim !== void 0) address.searchParams.set("connectionId", claim.connectionId);
			if (claim?.secret !== void 0) address.searchParams.set("resumeSecret", claim.secret);
			return address.href;
		}
	};
}
function parse(url) {
	try {
		return new URL(url, globalThis.location?.href);
	} catch {
		return;
	}
}
//#endregion
export { RelayBox, RelayBox as default, RelayBoxError };
