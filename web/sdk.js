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
//#region src/connection.ts
/** A connection that ends sooner than this was none: the next delay goes on from the last one. */
const stableMs = 5e3;
const firstFrame = "ds:server:connection:acknowledged";
const ignore = () => {};
var Connection = class {
	#settings;
	#hooks;
	#events = new Emitter();
	#state = "idle";
	#info;
	#socket;
	#timer;
	#waiter;
	#attempt = 0;
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
	/** Connects, or waits for the connection under way. While reconnecting it tries now. */
	open() {
		if (this.#state === "connected" && this.#info !== void 0) return Promise.resolve(this.#info);
		const waiter = this.#waiter ??= newWaiter();
		if (this.#state === "idle") {
			this.#state = "connecting";
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
	#dial() {
		clearTimeout(this.#timer);
		this.#timer = setTimeout(() => {
			this.#release()?.close();
			this.#failed(timedOut(`connecting to ${this.#settings.label}`, this.#settings.connectMs));
		}, this.#settings.connectMs);
		let socket;
		try {
			socket = new this.#settings.WebSocket(this.#settings.address(this.#info?.connectionId));
		} catch (error) {
			this.#failed(connectFailed(this.#settings.label, error instanceof Error ? error.message : String(error)));
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
		const { connectionId, clientId, node, graceMs } = body;
		const info = {
			connectionId: String(connectionId),
			clientId: clientId === void 0 || clientId === null ? void 0 : String(clientId),
			node: typeof node === "string" ? node : void 0,
			graceMs: typeof graceMs === "number" ? graceMs : void 0
		};
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
		restored.then(() => {
			if (this.#state === "connected" && this.#socket === socket) this.#events.emit("reconnected", attempts);
		});
	}
	#closed(event, cause) {
		const { code = 1006, reason = "" } = event ?? {};
		this.#release();
		const why = reason === "" ? cause : reason;
		if (this.#state !== "connected") {
			this.#failed(connectFailed(this.#settings.label, why === "" && code !== 1006 ? `closed with ${code}` : why));
			return;
		}
		if (performance.now() - this.#connectedAt >= stableMs) this.#attempt = 0;
		this.#state = "reconnecting";
		const lost = disconnected(`the connection was lost (close code ${code}${why === "" ? "" : `, ${why}`})`);
		this.#hooks.lost(lost, true, code);
		this.#events.emit("disconnect", {
			code,
			reason,
			reconnecting: true
		});
		if (this.#state === "reconnecting" && this.#socket === void 0) this.#retry();
	}
	#failed(error) {
		clearTimeout(this.#timer);
		if (this.#state === "connecting") {
			this.#idle(error);
			this.report(error);
			return;
		}
		this.report(error);
		if (this.#state === "reconnecting" && this.#socket === void 0) this.#retry();
	}
	#retry() {
		if (this.#attempt >= this.#settings.attempts) {
			const attempts = this.#attempt;
			this.#idle(disconnected(`gave up after ${attempts} attempts`));
			this.#events.emit("reconnect_failed", attempts);
			return;
		}
		this.#attempt++;
		const ms = delayMs(this.#attempt, this.#settings.backoff);
		this.#timer = setTimeout(() => this.#dial(), ms);
		this.#events.emit("reconnecting", this.#attempt, ms);
	}
	#idle(error) {
		clearTimeout(this.#timer);
		this.#state = "idle";
		this.#info = void 0;
		this.#attempt = 0;
		this.#hooks.lost(error, false);
		this.#waiter?.reject(error);
		this.#waiter = void 0;
	}
	#release() {
		const socket = this.#socket;
		this.#socket = void 0;
		clearTimeout(this.#timer);
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
	#pending = /* @__PURE__ */ new Map();
	#waiting;
	#send;
	#prefix = Date.now().toString(36) + Math.random().toString(36).slice(2, 8);
	#count = 0;
	constructor(timeoutMs) {
		this.#timeoutMs = timeoutMs;
	}
	/** From here on requests wait for {@link open}. */
	wait() {
		this.#waiting ??= [];
	}
	/** The connection is there: what waited goes out, in order. */
	open(send) {
		const waiting = this.#waiting ?? [];
		this.#waiting = void 0;
		this.#send = send;
		for (const text of waiting) send(text);
	}
	/**
	* The connection is gone: what is not answered never will be. The server closes with 1009 when a frame
	* is over its limit and can't say which: it was the largest, and sending that one again would end the next connection.
	*/
	close(error, closeCode) {
		this.#send = void 0;
		this.#waiting = void 0;
		const pending = [...this.#pending.values()];
		this.#pending.clear();
		const largest = closeCode === 1009 ? Math.max(...pending.map(({ size }) => size)) : void 0;
		for (const request of pending) {
			clearTimeout(request.timer);
			request.reject(request.size === largest ? tooLarge(largest) : error);
		}
	}
	/**
	* Sends `ds:client:<type>` before it returns, so that requests go out in the order of the calls.
	* Rejects with the server's error, `timeout` or `disconnected`.
	*/
	request(type, body, payload) {
		if (this.#send === void 0 && this.#waiting === void 0) return Promise.reject(disconnected(`${type} was not sent: there is no connection`));
		const ackId = `${this.#prefix}${(this.#count++).toString(36)}`;
		const text = frame(type, body, payload, ackId);
		return new Promise((resolve, reject) => {
			const timer = setTimeout(() => {
				this.#pending.delete(ackId);
				reject(timedOut(type, this.#timeoutMs));
			}, this.#timeoutMs);
			this.#pending.set(ackId, {
				size: text.length,
				resolve,
				reject,
				timer
			});
			if (this.#send !== void 0) this.#send(text);
			else this.#waiting?.push(text);
		});
	}
	/** Takes the body of an acknowledgement; one that nobody waits for any more is dropped. */
	acknowledge(body) {
		const ackId = String(body["ackId"]);
		const pending = this.#pending.get(ackId);
		if (pending === void 0) return;
		this.#pending.delete(ackId);
		clearTimeout(pending.timer);
		const err = body["err"];
		if (typeof err === "object" && err !== null) {
			pending.reject(fromWire(err));
			return;
		}
		const revision = body["revision"];
		pending.resolve({
			data: body["data"],
			revision: typeof revision === "number" ? revision : void 0
		});
	}
};
function frame(type, body, payload, ackId) {
	let fields = JSON.stringify(body).slice(1, -1);
	if (payload?.text !== void 0) fields += `${fields === "" ? "" : ","}"${payload.field}":${payload.text}`;
	return `{"type":"ds:client:${type}","body":{${fields}},"ackId":"${ackId}"}`;
}
//#endregion
//#region src/subscriptions.ts
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
	#entries = /* @__PURE__ */ new Set();
	#bound;
	#type;
	constructor(name, kind) {
		this.#name = name;
		this.#kind = kind;
	}
	get used() {
		return this.#entries.size > 0;
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
		const bound = this.#bound ??= send(this.#kind.bind(this.#name));
		try {
			await bound;
		} catch (error) {
			this.#entries.delete(entry);
			if (this.#bound === bound) this.#bound = void 0;
			throw error;
		}
		return () => {
			this.#entries.delete(entry);
			return this.#settle(send);
		};
	}
	remove(handler, send) {
		for (const entry of this.#entries) if (handler === void 0 || entry.handler === handler) this.#entries.delete(entry);
		return this.#settle(send);
	}
	/** Forgets all handlers; the caller has told the server, or need not. */
	clear() {
		this.#entries.clear();
		this.#bound = void 0;
	}
	/** Asks again on a connection that knows nothing of this topic. */
	rebind(send) {
		const bound = send(this.#kind.bind(this.#name));
		this.#bound = bound;
		return bound;
	}
	deliver(body) {
		if (!this.#kind.accepts(this.#name, body)) return;
		const entries = [...this.#entries];
		for (const [i, entry] of entries.entries()) {
			if (!this.#entries.has(entry)) continue;
			call(entry.handler, [i < entries.length - 1 ? structuredClone(body) : body]);
		}
	}
	async #settle(send) {
		if (this.#entries.size > 0 || this.#bound === void 0) return;
		this.#bound = void 0;
		await quietly(send(this.#kind.unbind(this.#name)));
	}
};
/** The subscriptions of one kind in one room. */
var Subscriptions = class {
	#kind;
	#router;
	#send;
	#topics = /* @__PURE__ */ new Map();
	#nsp;
	constructor(kind, router, send) {
		this.#kind = kind;
		this.#router = router;
		this.#send = send;
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
	/** The topics with handlers, as requests to send again; `send` goes past the room's queue. */
	restore(send) {
		return [...this.#topics.values()].filter((topic) => topic.used).map((topic) => topic.rebind(send));
	}
	async #unsubscribeAll() {
		const used = [...this.#topics.values()].some((topic) => topic.used);
		for (const topic of this.#topics.values()) topic.clear();
		if (used) await quietly(this.#send(this.#kind.unbind()));
	}
	#topic(name) {
		const known = this.#topics.get(name);
		if (known !== void 0) return known;
		const topic = new Topic(name, this.#kind);
		this.#topics.set(name, topic);
		if (this.#nsp !== void 0) topic.attach(this.#router, this.#nsp);
		return topic;
	}
};
async function quietly(request) {
	try {
		await request;
	} catch (error) {
		if (error instanceof RelayBoxError && (error.code === "disconnected" || error.code === "not_in_room")) return;
		throw error;
	}
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
	subscriptions;
	#membership;
	#calls = 0;
	#decidedBy = 0;
	constructor(request, router) {
		this.#request = request;
		const send = ({ type, fields }) => request(type, fields);
		this.subscriptions = new Subscriptions(kind$1, router, send);
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
		try {
			await this.#request("room:presence:leave", {}, {
				field: "userData",
				text
			});
		} catch (error) {
			if (!(error instanceof RelayBoxError)) throw error;
			if (error.code === "not_in_room") return;
			if (error.status !== void 0 && this.#decidedBy === call) this.#membership = before;
			throw error;
		}
	}
	async get(options = {}) {
		const { data, revision } = await this.#request("room:presence:get", { limit: options.limit });
		return Object.defineProperty(Array.isArray(data) ? data : [], "revision", { value: revision ?? 0 });
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
	/** Joins again, with the last data, where this connection was a member. */
	restore(request) {
		const membership = this.#membership;
		if (membership === void 0) return [];
		return [request("room:presence:join", {}, {
			field: "userData",
			text: membership.text
		})];
	}
	async #enter(type, text) {
		const call = ++this.#calls;
		await this.#request(type, {}, {
			field: "userData",
			text
		});
		this.#decide(call, { text });
	}
	#decide(call, membership) {
		if (call < this.#decidedBy) return;
		this.#decidedBy = call;
		this.#membership = membership;
	}
};
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
var JoinedRoom = class {
	id;
	presence;
	#host;
	#messages;
	#held;
	#ended;
	#leaving;
	constructor(id, host) {
		this.id = id;
		this.#host = host;
		const request = (type, fields, payload) => this.#call(type, fields, payload);
		this.presence = new PresenceSet(request, host.router);
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
	/** Joins, after `before` has settled. Rejects, and ends the room, when the server refuses. */
	async enter(before) {
		this.#held = [];
		try {
			if (before !== void 0) await before.catch(() => {});
			await this.#join();
		} catch (error) {
			this.end(error);
			throw error;
		}
		this.#resume();
	}
	/** The connection is gone; it may come back. */
	lose(error) {
		const held = this.#held ?? [];
		this.#held = void 0;
		for (const call of held) call.reject(error);
	}
	/** The connection is back: calls wait until {@link restore} is through. */
	hold() {
		this.#held ??= [];
	}
	/** Puts in place what the server no longer has. Goes on until it is done, refused, or `signal` ends it. */
	async restore(signal) {
		try {
			await this.#insist(() => this.#join(), signal);
		} catch (error) {
			if (signal.aborted) return;
			this.#host.report(error);
			this.end(error);
			return;
		}
		const request = (type, fields, payload) => this.#insist(() => this.#host.request(type, {
			roomId: this.id,
			...fields
		}, payload), signal);
		const send = ({ type, fields }) => request(type, fields);
		const restoring = [
			...this.#messages.restore(send),
			...this.presence.subscriptions.restore(send),
			...this.presence.restore(request)
		];
		for (const result of await Promise.allSettled(restoring)) if (result.status === "rejected" && !signal.aborted) this.#host.report(result.reason);
		if (!signal.aborted) this.#resume();
	}
	/** Nothing is delivered from here on; every call but the taking back of something rejects with `error`. */
	end(error) {
		if (this.#ended !== void 0) return;
		this.#ended = error;
		this.lose(error);
		this.#messages.detach();
		this.presence.subscriptions.detach();
		this.#host.ended(this);
	}
	async #leave() {
		try {
			await this.#call("room:leave");
		} catch (error) {
			this.#leaving = void 0;
			if (error instanceof RelayBoxError && error.code === "disconnected") this.end(error);
			throw error;
		}
		this.end(new RelayBoxError({
			name: "NotInRoomError",
			code: "not_in_room",
			status: 409,
			message: `room "${this.id}" was left; call relayBox.join() again`
		}));
	}
	async #join() {
		const { data } = await this.#host.request("room:join", { roomId: this.id });
		const nsp = typeof data === "string" ? data : data?.nspRoomId;
		if (typeof nsp !== "string") throw protocolError(`the answer to the join of "${this.id}" names no room`);
		this.#messages.attach(nsp);
		this.presence.subscriptions.attach(nsp);
	}
	#resume() {
		const held = this.#held ?? [];
		this.#held = void 0;
		for (const call of held) call.run();
	}
	#call(type, fields, payload) {
		if (this.#ended !== void 0) return Promise.reject(this.#ended);
		const send = () => this.#host.request(type, {
			roomId: this.id,
			...fields
		}, payload);
		const held = this.#held;
		if (held === void 0) return send();
		return new Promise((resolve, reject) => {
			held.push({
				run: () => void send().then(resolve, reject),
				reject
			});
		});
	}
	async #insist(send, signal) {
		for (let attempt = 1;; attempt++) {
			signal.throwIfAborted();
			try {
				return await send();
			} catch (error) {
				if (signal.aborted || !(error instanceof RelayBoxError) || !error.retry) throw error;
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
const acknowledgement = "ds:server:message:acknowledged";
var RelayBox = class {
	/** The state of the connection, its facts and its events. */
	connection;
	#connection;
	#requests;
	#router = new Router();
	#rooms = /* @__PURE__ */ new Map();
	#host;
	#socketLife = new AbortController();
	/** Throws a `RelayBoxError` with code `invalid` for options that can't work. Opens nothing. */
	constructor(options) {
		const { reconnect = {}, timeouts = {} } = options ?? {};
		const backoff = {
			baseMs: reconnect.baseMs ?? 500,
			capMs: reconnect.capMs ?? 1e4
		};
		const { label, address } = addressOf(options ?? {});
		this.#requests = new Requests(timeouts.requestMs ?? 1e4);
		this.#connection = new Connection({
			label,
			address,
			WebSocket: socketOf(options),
			connectMs: timeouts.connectMs ?? 1e4,
			backoff,
			attempts: reconnect.attempts ?? Infinity
		}, {
			opening: () => this.#requests.wait(),
			ready: (again) => this.#ready(again),
			lost: (error, again, closeCode) => this.#lost(error, again, closeCode),
			frame: (frame) => this.#frame(frame)
		});
		this.connection = this.#connection;
		this.#host = {
			router: this.#router,
			backoff,
			request: (type, body, payload) => this.#requests.request(type, body, payload),
			report: (error) => this.#connection.report(error),
			ended: (room) => {
				if (this.#rooms.get(room.id)?.room === room) this.#rooms.delete(room.id);
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
		});
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
		this.#requests.open((text) => this.#connection.send(text));
		return again ? this.#restore(this.#socketLife.signal) : Promise.resolve();
	}
	#lost(error, again, closeCode) {
		this.#socketLife.abort(error);
		this.#requests.close(error, closeCode);
		for (const { room } of [...this.#rooms.values()]) if (again) room.lose(error);
		else room.end(error);
	}
	async #restore(signal) {
		const rooms = [...this.#rooms.values()].map(({ room }) => room).filter((room) => room.leaving === void 0);
		for (const room of rooms) room.hold();
		const next = rooms.values();
		const work = async () => {
			for (const room of next) await room.restore(signal);
		};
		await Promise.all(Array.from({ length: roomsAtOnce }, work));
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
		address(connectionId) {
			const address = new URL(base);
			address.searchParams.set("apiKey", apiKey);
			if (clientId !== void 0 && clientId !== null && clientId !== "") address.searchParams.set("clientId", String(clientId));
			if (connectionId !== void 0) address.searchParams.set("connectionId", connectionId);
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
