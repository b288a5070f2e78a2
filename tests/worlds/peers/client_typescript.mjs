// A client made with the TypeScript SDK, which a test drives line by line: `client_typescript.mjs 1|2 URL [auto|legacy]`.
// It says what the person's browser should open, and answers each line it is given by a call of the tool named there.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

const [generation, url, mode = 'legacy'] = process.argv.slice(2);

async function sdk() {
    if (generation === '2') return import('@modelcontextprotocol/client');
    return {
        ...(await import('@modelcontextprotocol/sdk/client/index.js')),
        ...(await import('@modelcontextprotocol/sdk/client/streamableHttp.js')),
        ...(await import('@modelcontextprotocol/sdk/client/auth.js'))
    };
}

const { Client, StreamableHTTPClientTransport, UnauthorizedError } = await sdk();
const say = said => console.log(JSON.stringify(said));

/** Where the browser comes back to. */
class Callback {
    async listen() {
        this.server = createServer((req, res) => {
            const visited = new URL(req.url, this.url);
            res.end('Done');
            if (visited.pathname === '/callback') this.come(visited.searchParams);
        });
        await new Promise(resolve => this.server.listen(0, '127.0.0.1', resolve));
        this.url = `http://127.0.0.1:${this.server.address().port}/callback`;
        this.expect();
    }

    expect() {
        this.visit = new Promise(resolve => (this.come = resolve));
    }
}

const callback = new Callback();
await callback.listen();

/** The SDK's OAuthClientProvider, in memory, as its own examples have it. */
const held = {};
const provider = {
    redirectUrl: callback.url,
    clientMetadata: {
        client_name: `TypeScript SDK ${generation}`,
        redirect_uris: [callback.url],
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code']
    },
    state: () => (held.state = crypto.randomUUID()),
    clientInformation: () => held.client,
    saveClientInformation: client => void (held.client = client),
    tokens: () => held.tokens,
    saveTokens: tokens => void (held.tokens = tokens),
    redirectToAuthorization: where => say({ authorize: where.href }),
    saveCodeVerifier: verifier => void (held.verifier = verifier),
    codeVerifier: () => held.verifier,
    saveDiscoveryState: state => void (held.discovery = state),
    discoveryState: () => held.discovery
};

let transport, client;

async function connect() {
    transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
    client = new Client({ name: 'peer', version: generation }, { versionNegotiation: { mode } });
    await client.connect(transport);
}

/** Do something; if it needs the person, let the browser come back and do it again. */
async function authorized(work) {
    try {
        return await work();
    } catch (error) {
        if (!(error instanceof UnauthorizedError)) throw error;
        const fields = await callback.visit;
        callback.expect();
        if (fields.get('state') !== held.state) throw new Error('the state is another');
        await transport.finishAuth(generation === '2' ? fields : fields.get('code'));
        return work();
    }
}

await authorized(connect);
say({ connected: true });
for await (const line of createInterface({ input: process.stdin })) {
    try {
        const { tool, args } = JSON.parse(line);
        say({ result: await authorized(() => client.callTool({ name: tool, arguments: args ?? {} })) });
    } catch (error) {
        say({ error: String(error) });
    }
}
process.exit(0);
