import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { type DescriptorProto, FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';

/** Finds .proto files in a descriptor set. What is found comes with everything it imports, the file itself first. */
export interface DescriptorIndex {
  byFile(name: string): readonly Uint8Array[] | undefined;
  /** A full name, without a leading dot: of a message, enum, service or method. */
  bySymbol(name: string): readonly Uint8Array[] | undefined;
}

/** Indexes a FileDescriptorSet as `buf build -o` writes it. */
export function indexDescriptors(bytes: Uint8Array): DescriptorIndex {
  const set = fromBinary(FileDescriptorSetSchema, bytes);
  const files = new Map(set.file.map((file) => [file.name, file]));
  const fileOfSymbol = new Map<string, string>();
  for (const file of set.file) {
    for (const symbol of symbolsOf(file.package, file.messageType)) fileOfSymbol.set(symbol, file.name);
    for (const { name } of file.enumType) fileOfSymbol.set(`${file.package}.${name}`, file.name);
    for (const service of file.service) {
      const serviceName = `${file.package}.${service.name}`;
      fileOfSymbol.set(serviceName, file.name);
      for (const { name } of service.method) fileOfSymbol.set(`${serviceName}.${name}`, file.name);
    }
  }
  const withImports = (name: string, found = new Map<string, Uint8Array>()): Map<string, Uint8Array> => {
    const file = files.get(name);
    if (file === undefined || found.has(name)) return found;
    found.set(name, toBinary(FileDescriptorProtoSchema, file));
    for (const imported of file.dependency) withImports(imported, found);
    return found;
  };
  const byFile = (name: string): Uint8Array[] | undefined =>
    files.has(name) ? [...withImports(name).values()] : undefined;
  return { byFile, bySymbol: (name) => byFile(fileOfSymbol.get(name) ?? '') };
}

function* symbolsOf(scope: string, messages: readonly DescriptorProto[]): Generator<string> {
  for (const message of messages) {
    const name = `${scope}.${message.name}`;
    yield name;
    for (const nested of message.enumType) yield `${name}.${nested.name}`;
    yield* symbolsOf(name, message.nestedType);
  }
}
