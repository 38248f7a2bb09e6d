package dev.imago.nbd;

import java.util.List;

/**
 * What a server tells of an export. All texts are the server's.
 *
 * @param name of the export; empty for the default one
 * @param description a text for people, may be empty
 * @param size in bytes, or -1 if the server tells no more than the name
 * @param flags the protocol's transmission flags
 * @param minimum the smallest block of a request, in bytes; 0 if the server does not say
 * @param preferred the block that suits it
 * @param maximum the most that one READ or WRITE may carry
 * @param contexts names of the metadata that it tells, as {@code base:allocation}
 */
public record NbdExportInfo(
    String name,
    String description,
    long size,
    int flags,
    long minimum,
    long preferred,
    long maximum,
    List<String> contexts) {

  /** Keeps a copy. */
  public NbdExportInfo {
    contexts = List.copyOf(contexts);
  }
}
