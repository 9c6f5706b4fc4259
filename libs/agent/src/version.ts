/** Which Ferry this is: the version in the manifests of its packages. */
export const version = '0.0.0';
