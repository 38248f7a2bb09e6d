package dev.imago.image;

import dev.imago.storage.Storage;

/**
 * Where one layer keeps a run of guest bytes. A fact of the moment: hold a {@link Image#pin()} from
 * before the look-up for as long as the answer is used.
 */
public sealed interface Mapping {

  /** The number of guest bytes this speaks of; 0 for {@link End} only. */
  long length();

  /**
   * The bytes lie as they are at {@code hostOffset} of {@code storage}.
   *
   * @param writable whether they may be overwritten there: nothing else refers to them
   */
  record Data(Storage storage, long hostOffset, long length, boolean writable) implements Mapping {}

  /**
   * The bytes are zero.
   *
   * @param explicit true if the layer says so; false if it follows from the layer's kind
   * @param preallocatedHostOffset host space reserved for them, or -1
   */
  record Zero(long length, boolean explicit, long preallocatedHostOffset) implements Mapping {}

  /**
   * Nothing here and nothing behind: reads as zero.
   *
   * @param preallocatedHostOffset host space reserved for the bytes all the same, or -1
   */
  record Unallocated(long length, long preallocatedHostOffset) implements Mapping {
    /** Without host space. */
    public Unallocated(long length) {
      this(length, -1);
    }
  }

  /**
   * Nothing here: ask {@code layer} at {@code guestOffset}. May reach past that layer's end.
   *
   * @param preallocatedHostOffset host space reserved for the bytes in this layer all the same, or
   *     -1
   */
  record Backing(Image layer, long guestOffset, long length, long preallocatedHostOffset)
      implements Mapping {
    /** Without host space. */
    public Backing(Image layer, long guestOffset, long length) {
      this(layer, guestOffset, length, -1);
    }
  }

  /**
   * The bytes are kept in another form: only the layer itself can read them.
   *
   * @param encoding {@code deflate}, {@code zstd}; {@code luks}, {@code aes} for encrypted data,
   *     which is as long encoded as not
   * @param hostOffset where the encoded form starts
   * @param encodedLength its length in bytes; an upper bound where the format knows no better
   */
  record Encoded(Storage storage, String encoding, long hostOffset, long encodedLength, long length)
      implements Mapping {}

  /** At or behind the image's end. */
  record End() implements Mapping {
    @Override
    public long length() {
      return 0;
    }
  }
}
