package dev.imago.nbd.wire;

/**
 * A run of the export of which a meta context says one thing.
 *
 * @param length in bytes, at least 1
 * @param flags what they mean depends on the context; see {@link MetaContext}
 */
public record StatusExtent(long length, long flags) {}
