// The TypeScript SDK's version 2, both eras of the protocol. It has no authorization server of its own any more: the
// router of version 1 lives on in a package beside it.
import { createMcpExpressApp, getOAuthProtectedResourceMetadataUrl, requireBearerAuth } from '@modelcontextprotocol/express';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer, OAuthError, OAuthErrorCode } from '@modelcontextprotocol/server';
import * as errors from '@modelcontextprotocol/server-legacy/auth';
import { Accounts } from './accounts.mjs';
import { serve } from './listening.mjs';

const [lifetime, issuer] = process.argv.slice(2);

function server() {
    const made = new McpServer({ name: 'peer', version: '2' });
    made.registerTool('whoami', { description: 'Says what the token is for.' }, ctx => ({
        content: [{ type: 'text', text: `${ctx.http.authInfo.scopes.join(' ')} at ${ctx.http.authInfo.resource}` }]
    }));
    return made;
}

await serve(url => {
    const provider = new Accounts(Number(lifetime), errors, issuer !== 'unnamed');
    const resource = new URL('/mcp', url);
    const app = createMcpExpressApp();
    provider.mount(app);
    app.use(
        errors.mcpAuthRouter({
            provider,
            issuerUrl: new URL(url),
            resourceServerUrl: resource,
            scopesSupported: ['notes']
        })
    );
    const verifier = {
        verifyAccessToken: token =>
            provider.verifyAccessToken(token).catch(error => {
                throw new OAuthError(OAuthErrorCode.InvalidToken, error.message);
            })
    };
    const known = requireBearerAuth({
        verifier,
        requiredScopes: ['notes'],
        resourceMetadataUrl: getOAuthProtectedResourceMetadataUrl(resource)
    });
    const handle = toNodeHandler(createMcpHandler(server));
    app.all('/mcp', known, (req, res) => handle(req, res, req.body));
    return app;
});
