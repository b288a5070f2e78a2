// The TypeScript SDK's version 1: its server, its router of an authorization server, its check of the token.
import express from 'express';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { requireBearerAuth } from '@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js';
import { getOAuthProtectedResourceMetadataUrl, mcpAuthRouter } from '@modelcontextprotocol/sdk/server/auth/router.js';
import * as errors from '@modelcontextprotocol/sdk/server/auth/errors.js';
import { Accounts } from './accounts.mjs';
import { serve } from './listening.mjs';

const [lifetime] = process.argv.slice(2).map(Number);

function server() {
    const made = new McpServer({ name: 'peer', version: '1' });
    made.registerTool('whoami', { description: 'Says what the token is for.' }, ({ authInfo }) => ({
        content: [{ type: 'text', text: `${authInfo.scopes.join(' ')} at ${authInfo.resource}` }]
    }));
    return made;
}

await serve(url => {
    const provider = new Accounts(lifetime, errors);
    const resource = new URL('/mcp', url);
    const app = express();
    provider.mount(app);
    app.use(
        mcpAuthRouter({ provider, issuerUrl: new URL(url), resourceServerUrl: resource, scopesSupported: ['notes'] })
    );
    const known = requireBearerAuth({
        verifier: provider,
        requiredScopes: ['notes'],
        resourceMetadataUrl: getOAuthProtectedResourceMetadataUrl(resource),
        expectedResource: resource
    });
    app.post('/mcp', known, express.json(), async (req, res) => {
        const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
        await server().connect(transport);
        await transport.handleRequest(req, res, req.body);
    });
    app.all('/mcp', (_, res) => res.status(405).end());
    return app;
});
