// What a person types to read a node with zarrita, in Node and in a browser alike.
import * as zarr from "zarrita";

export async function read(url, headers, format) {
  const store = new zarr.FetchStore(url, { overrides: { headers } });
  const array = await zarr.open[format](store, { kind: "array" });
  const { data, shape } = await zarr.get(array);
  return {
    shape,
    dtype: array.dtype,
    dims: array.attrs._ARRAY_DIMENSIONS ?? array.dimensionNames,
    data: base64(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
  };
}

export async function contents(url, headers, format) {
  const store = new zarr.FetchStore(url, { overrides: { headers } });
  return (await zarr.withConsolidatedMetadata(store, { format })).contents();
}

// The request that the tests send, node by node: an error is an answer too.
export async function answer({ nodes, groups, headers, format }) {
  const each = async (urls, call) => {
    const answers = {};
    for (const [name, url] of Object.entries(urls ?? {})) {
      try {
        answers[name] = await call(url, headers, format);
      } catch (error) {
        answers[name] = { error: String(error) };
      }
    }
    return answers;
  };
  return {
    nodes: await each(nodes, read),
    groups: await each(groups, contents),
    float16: typeof Float16Array !== "undefined",
  };
}

function base64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
