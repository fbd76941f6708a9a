// Calls songs.v1.Jukebox behind a gateway with every client, and prints what each saw as one JSON object:
// node calls.mjs <gateway url> <descriptor set file>
import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary, toBinary, create, toJson } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import * as node from "@connectrpc/connect-node";
import * as web from "@connectrpc/connect-web";
import grpcWeb from "grpc-web";
import XMLHttpRequest from "xhr2";

globalThis.XMLHttpRequest = XMLHttpRequest;

const [baseUrl, descriptors] = process.argv.slice(2);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)));
const service = registry.getService("songs.v1.Jukebox");
const song = registry.getMessage("songs.v1.Song");

const shown = (schema, message) => toJson(schema, message);

function failure(error) {
  const told = ConnectError.from(error);
  return { code: Code[told.code], message: told.rawMessage, details: told.details.map((detail) => detail.type) };
}

async function attempt(call) {
  try {
    return await call();
  } catch (error) {
    return { error: failure(error) };
  }
}

async function streamed(messages) {
  const plays = [];
  try {
    for await (const message of messages) plays.push(Number(message.plays));
  } catch (error) {
    return { plays, error: failure(error) };
  }
  return { plays };
}

async function* titles(...names) {
  for (const title of names) yield { title };
}

async function withConnect(transport) {
  const client = createClient(service, transport);
  let headers, trailers;
  const seen = {
    unary: await attempt(async () =>
      shown(song, await client.play({ title: "a\u00fc+%", plays: 1n }, {
        timeoutMs: 5000,
        headers: { "x-request-id": "r1" },
      })),
    ),
    look: await attempt(async () => shown(song, await client.look({ title: "a\u00fc+%/ b", plays: 1n }))),
    empty: await attempt(async () => shown(song, await client.play({}))),
    error: await attempt(() => client.play({ title: "code-5" })),
    late: await attempt(() => client.play({ title: "slow" }, { timeoutMs: 300 })),
    hidden: await attempt(() => client.hidden({})),
    stream: await streamed(client.repeat({ title: "a", plays: 3n })),
    nothing: await streamed(client.repeat({ title: "a" })),
    broken: await streamed(client.repeat({ title: "code-5", plays: 2n })),
    metadata: await attempt(async () => {
      await client.play({ title: "meta" }, {
        onHeader: (sent) => (headers = sent),
        onTrailer: (sent) => (trailers = sent),
      });
      return { etag: headers.get("etag"), cost: trailers.get("x-cost"), other: trailers.get("x-other") };
    }),
    streamMetadata: await attempt(async () => {
      await streamed(client.repeat({ title: "meta", plays: 1n }, {
        onHeader: (sent) => (headers = sent),
        onTrailer: (sent) => (trailers = sent),
      }));
      return { etag: headers.get("etag"), cost: trailers.get("x-cost"), other: trailers.get("x-other") };
    }),
  };
  return [seen, client];
}

async function withUploads(transport) {
  const [seen, client] = await withConnect(transport);
  seen.gather = await attempt(async () => (await client.gather(titles("a", "b"))).titles);
  seen.gatherBroken = await attempt(() => client.gather(titles("a", "code-5")));
  return seen;
}

async function withGrpcWeb(format) {
  const client = new grpcWeb.GrpcWebClientBase({ format });
  const method = (name, kind) =>
    new grpcWeb.MethodDescriptor(
      `/songs.v1.Jukebox/${name}`,
      kind,
      Object,
      Object,
      (fields) => toBinary(song, create(song, fields)),
      (data) => fromBinary(song, data),
    );
  const told = (error) => ({ code: error.code, message: error.message });
  const unary = (fields, metadata = {}) =>
    new Promise((resolve) =>
      client.rpcCall(`${baseUrl}/songs.v1.Jukebox/Play`, fields, metadata, method("Play", "unary"), (error, message) =>
        resolve(error ? { error: told(error) } : shown(song, message)),
      ),
    );
  const stream = (fields) =>
    new Promise((resolve) => {
      const plays = [];
      const call = client.serverStreaming(
        `${baseUrl}/songs.v1.Jukebox/Repeat`, fields, {}, method("Repeat", "server_streaming"),
      );
      call.on("data", (message) => plays.push(Number(message.plays)));
      call.on("error", (error) => resolve({ plays, error: told(error) }));
      call.on("end", () => resolve({ plays }));
    });
  return {
    unary: await unary({ title: "a\u00fc+%", plays: 1n }, { deadline: String(Date.now() + 5000) }),
    error: await unary({ title: "code-5" }),
    stream: await stream({ title: "a", plays: 3n }),
    broken: await stream({ title: "code-5", plays: 2n }),
  };
}

const plain = async (transport) => (await withConnect(transport))[0];
const uploads = (options) => withUploads(node.createConnectTransport({ baseUrl, httpVersion: "1.1", ...options }));
console.log(
  JSON.stringify({
    connectJson: await plain(web.createConnectTransport({ baseUrl })),
    connectBinary: await plain(web.createConnectTransport({ baseUrl, useBinaryFormat: true })),
    connectGetJson: await plain(web.createConnectTransport({ baseUrl, useHttpGet: true })),
    connectGetBinary: await plain(web.createConnectTransport({ baseUrl, useHttpGet: true, useBinaryFormat: true })),
    grpcWebBinary: await plain(web.createGrpcWebTransport({ baseUrl })),
    grpcWebJson: await plain(web.createGrpcWebTransport({ baseUrl, useBinaryFormat: false })),
    nodeConnectJson: await uploads({ useBinaryFormat: false }),
    nodeConnectBinary: await uploads({ useBinaryFormat: true }),
    nodeGrpcWeb: await plain(node.createGrpcWebTransport({ baseUrl, httpVersion: "1.1" })),
    grpcWebClientText: await withGrpcWeb("text"),
    grpcWebClientBinary: await withGrpcWeb("binary"),
  }),
);
