package dev.imago.image;

/**
 * A run of an image's guest bytes and who would provide them.
 *
 * @param guestOffset in the image that was asked
 * @param depth how many layers down the answer was found; 0 is the image that was asked
 * @param layer the image that answers
 * @param mapping what that layer says; never {@link Mapping.Backing} nor {@link Mapping.End}
 */
public record Extent(long guestOffset, int depth, Image layer, Mapping mapping) {
  /** In bytes, at least 1. */
  public long length() {
    return mapping.length();
  }

  /** Whether the bytes are known to be zero without reading them. */
  public boolean zero() {
    return mapping instanceof Mapping.Zero || mapping instanceof Mapping.Unallocated;
  }
}
