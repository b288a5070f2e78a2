// `oidc-provider`, a certified OpenID provider, as the authorization server of a small protected resource. Its pages
// for development sign the person in and ask for consent.
import express from 'express';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { Provider } from 'oidc-provider';
import { serve } from './listening.mjs';

const [lifetime] = process.argv.slice(2).map(Number);

function server(token) {
    const made = new McpServer({ name: 'peer', version: '1' });
    made.registerTool('whoami', { description: 'Says what the token is for.' }, () => ({
        content: [{ type: 'text', text: `${token.accountId}: ${token.scope} at ${token.aud}` }]
    }));
    return made;
}

await serve(url => {
    const resource = `${url}/mcp`;
    const document = `${url}/.well-known/oauth-protected-resource/mcp`;
    const provider = new Provider(url, {
        scopes: ['openid', 'offline_access', 'notes'],
        pkce: { required: () => true },
        features: {
            registration: { enabled: true },
            revocation: { enabled: true },
            resourceIndicators: {
                enabled: true,
                defaultResource: () => undefined,
                useGrantedResource: () => true,
                getResourceServerInfo: (_, indicator) => {
                    if (indicator !== resource) throw new Error('another resource');
                    return { scope: 'notes', accessTokenTTL: lifetime, accessTokenFormat: 'opaque' };
                }
            }
        }
    });
    const app = express();
    app.get('/.well-known/oauth-protected-resource/mcp', (_, res) =>
        res.json({ resource, authorization_servers: [url], scopes_supported: ['notes'] })
    );
    app.post('/mcp', express.json(), async (req, res) => {
        const sent = /^Bearer (.+)$/.exec(req.headers.authorization ?? '')?.[1];
        const token = sent && (await provider.AccessToken.find(sent));
        if (!token?.isValid || token.aud !== resource) {
            const error = sent ? 'error="invalid_token", ' : '';
            res.set('WWW-Authenticate', `Bearer ${error}resource_metadata="${document}", scope="notes"`);
            return res.status(401).end();
        }
        const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
        await server(token).connect(transport);
        await transport.handleRequest(req, res, req.body);
    });
    app.all('/mcp', (_, res) => res.status(405).end());
    app.use(provider.callback());
    return app;
});
