// Requests to the server that serves this page.

export const SERVER_IS_GONE = "The server does not answer; start eoren view again.";

// Return a response with a status of success; throw an Error whose message is fit for the user.
export async function request(path, options = {}) {
  const response = await fetch(path, options).catch((error) => {
    throw error.name === "AbortError" ? error : new Error(SERVER_IS_GONE);
  });
  if (!response.ok) throw new Error(`The server answers with status ${response.status}: ${await response.text()}`);
  return response;
}

export const requestJson = async (path, options) => (await request(path, options)).json();
