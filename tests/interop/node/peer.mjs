// matrix-js-sdk with its Rust cryptography as a peer for tests: one JSON command a line in, one answer a line out.
// Started by tests/interop/js_peer.py, which documents the commands.
import * as readline from "node:readline";
import * as sdk from "matrix-js-sdk";
import { CryptoEvent } from "matrix-js-sdk/lib/crypto-api/CryptoEvent.js";
import { VerifierEvent } from "matrix-js-sdk/lib/crypto-api/verification.js";
import { decodeRecoveryKey } from "matrix-js-sdk/lib/crypto-api/recovery-key.js";

// The library asks for Node 22; this is all it lacks in 20.
Promise.withResolvers ??= () => {
    const made = {};
    made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
    return made;
};

const print = process.stdout.write.bind(process.stdout);
for (const name of ["log", "debug", "info", "trace", "warn", "error"]) {
    console[name] = (...words) => process.stderr.write(words.map(String).join(" ") + "\n");
}


let client;
let storageKey = null; // [id, bytes] of secret storage
let verification = null; // the VerificationRequest in hand
let verifier = null;
let shown = null; // its ShowSasCallbacks
let finished = null; // promise of the verifier's end, as text

const crypto = () => client.getCrypto();

function room(id) {
    const found = client.getRoom(id);
    if (!found) throw new Error(`not in sync with ${id} yet`);
    return found;
}

function follow(begun) {
    verifier = begun;
    begun.on(VerifierEvent.ShowSas, (callbacks) => { shown = callbacks; });
    finished = begun.verify().then(() => "done", (error) => `cancelled: ${error.message ?? error}`);
}

const passwordAuth = (user, password) => (upload) =>
    upload({ type: "m.login.password", identifier: { type: "m.id.user", user }, password });

const commands = {
    async login({ url, user, password }) {
        const bare = sdk.createClient({ baseUrl: url });
        const session = await bare.loginRequest({
            type: "m.login.password", identifier: { type: "m.id.user", user }, password,
        });
        client = sdk.createClient({
            baseUrl: url, userId: session.user_id, deviceId: session.device_id, accessToken: session.access_token,
            cryptoCallbacks: {
                getSecretStorageKey: async ({ keys }) => {
                    if (!storageKey) return null;
                    const id = storageKey[0] ?? Object.keys(keys)[0];
                    return [id, storageKey[1]];
                },
                cacheSecretStorageKey: (id, _info, key) => { storageKey = [id, key]; },
            },
        });
        await client.initRustCrypto({ useIndexedDB: false });
        client.on(CryptoEvent.VerificationRequestReceived, (request) => { verification = request; });
        await client.startClient({ initialSyncLimit: 100 });
        await new Promise((resolve) => client.on(sdk.ClientEvent.Sync, (state) => state === "PREPARED" && resolve()));
        return { user_id: session.user_id, device_id: session.device_id };
    },
    async create({ invite = [], encrypted = true }) {
        const initial_state = encrypted
            ? [{ type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } }] : [];
        return client.createRoom({ invite, preset: "private_chat", initial_state });
    },
    async join({ room_id }) { await client.joinRoom(room_id); return {}; },
    async invite({ room_id, user_id }) { await client.invite(room_id, user_id); return {}; },
    async knows({ room_id }) {
        const found = client.getRoom(room_id);
        return { joined: found?.getMyMembership() === "join", encrypted: Boolean(found?.hasEncryptionStateEvent()),
                 invited_by: found?.getMember(client.getUserId())?.events.member?.getSender() ?? null,
                 members: (found?.getJoinedMembers() ?? []).map((m) => m.userId) };
    },
    async send({ room_id, type, content }) { room(room_id); return client.sendEvent(room_id, type, content); },
    async redact({ room_id, event_id }) { return client.redactEvent(room_id, event_id); },
    async timeline({ room_id, back = false }) {
        const there = room(room_id);
        if (back) await client.scrollback(there, 1000);
        const events = [];
        for (const event of there.getLiveTimeline().getEvents()) {
            if (event.isState()) continue;
            if (event.isEncrypted()) await client.decryptEventIfNeeded(event);
            const info = event.isEncrypted() && !event.isDecryptionFailure()
                ? await crypto().getEncryptionInfoForEvent(event) : null;
            events.push({
                event_id: event.getId(), sender: event.getSender(), type: event.getType(),
                wire_type: event.getWireType(), content: event.getOriginalContent(), redacted: event.isRedacted(),
                failure: event.isDecryptionFailure() ? event.decryptionFailureReason : null,
                replaced_by: event.replacingEventId() ?? null,
                shield: info ? info.shieldColour : null, shield_reason: info ? info.shieldReason : null,
            });
        }
        return { events };
    },
    // -- identity ---------------------------------------------------------------------------------
    async bootstrap({ user, password }) {
        await crypto().bootstrapCrossSigning({ authUploadDeviceSigningKeys: passwordAuth(user, password) });
        let made = null;
        await crypto().bootstrapSecretStorage({
            setupNewKeyBackup: true,
            createSecretStorageKey: async () => {
                made = await crypto().createRecoveryKeyFromPassphrase();
                storageKey = [null, made.privateKey];
                return made;
            },
        });
        return { recovery_key: made.encodedPrivateKey };
    },
    async recover({ recovery_key }) {
        storageKey = [null, decodeRecoveryKey(recovery_key)];
        await crypto().userHasCrossSigningKeys(client.getUserId(), true); // or there is no identity to compare with
        await crypto().bootstrapCrossSigning({});
        await crypto().loadSessionBackupPrivateKeyFromSecretStorage();
        await crypto().checkKeyBackupAndEnable();
        const { imported, total } = await crypto().restoreKeyBackup();
        return { imported, total };
    },
    async identity() {
        return { ready: await crypto().isCrossSigningReady(), storage: await crypto().isSecretStorageReady(),
                 backup: await crypto().getActiveSessionBackupVersion() };
    },
    async device({ user_id, device_id }) {
        await crypto().getUserDeviceInfo([user_id], true);
        const status = await crypto().getDeviceVerificationStatus(user_id, device_id);
        return status && { cross_signed: status.signedByOwner, verified: status.crossSigningVerified };
    },
    async user({ user_id }) {
        const status = await crypto().getUserVerificationStatus(user_id);
        return { verified: status.isCrossSigningVerified() };
    },
    async isolate({ only_signed }) {
        const { OnlySignedDevicesIsolationMode, AllDevicesIsolationMode } =
            await import("matrix-js-sdk/lib/crypto-api/index.js");
        crypto().setDeviceIsolationMode(
            only_signed ? new OnlySignedDevicesIsolationMode() : new AllDevicesIsolationMode(false));
        return {};
    },
    async discard_session({ room_id }) { await crypto().forceDiscardSession(room_id); return {}; },
    // -- keys -------------------------------------------------------------------------------------
    async export_keys() { return { keys: JSON.parse(await crypto().exportRoomKeysAsJson()) }; },
    async import_keys({ keys }) { await crypto().importRoomKeysAsJson(JSON.stringify(keys)); return {}; },
    async backed_up() {
        const { count } = await client.http.authedRequest("GET", "/room_keys/version"); // the crypto API's is cached
        return { count };
    },
    // -- verification -----------------------------------------------------------------------------
    async request_verification({ user_id, device_id }) {
        verification = user_id === client.getUserId() && !device_id
            ? await crypto().requestOwnUserVerification()
            : await crypto().requestDeviceVerification(user_id, device_id);
        return {};
    },
    async verification() {
        if (verification?.verifier && !verifier) follow(verification.verifier);
        return { phase: verification?.phase ?? 0, other: verification?.otherUserId ?? null,
                 sas: shown ? { emoji: shown.sas.emoji, decimal: shown.sas.decimal } : null,
                 cancelled: verification?.cancellationCode ?? null };
    },
    async accept_verification() { await verification.accept(); return {}; },
    async start_sas() { follow(await verification.startVerification("m.sas.v1")); return {}; },
    async confirm_sas() { await shown.confirm(); return {}; },
    async mismatch_sas() { shown.mismatch(); return {}; },
    async verification_end() { return { end: await finished }; },
    async forget_verification() { verification = verifier = shown = finished = null; return {}; },
    async stop() { client?.stopClient(); setTimeout(() => process.exit(0), 10); return {}; },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
    const { id, command, ...given } = JSON.parse(line);
    // Not awaited: an answer may come while an earlier command waits.
    commands[command](given).then(
        (result) => print(JSON.stringify({ id, result: result ?? {} }) + "\n"),
        (error) => print(JSON.stringify({ id, error: String(error?.message ?? error) }) + "\n"),
    );
}
process.exit(0); // whoever started us is gone
