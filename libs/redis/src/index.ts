export { domainOfKey, isDomain, tagOf } from './keys.ts';
export { replyMsMax, scriptCalls } from './script-calls.ts';
