package dev.imago.storage;

import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * What a format is about to do with its storage, in the words that QEMU's fault injection has for
 * it. A storage is told by {@link Storage#event}; only one that injects faults listens.
 *
 * <p>Formats tell what they do and no more: where QEMU does something that is not done here, its
 * event never happens.
 */
public enum BlockEvent {
  /** Whenever: rules with this event hold from the beginning. */
  NONE,
  L1_UPDATE,
  L1_GROW_ALLOC_TABLE,
  L1_GROW_WRITE_TABLE,
  L1_GROW_ACTIVATE_TABLE,
  L2_LOAD,
  L2_UPDATE,
  L2_UPDATE_COMPRESSED,
  L2_ALLOC_COW_READ,
  L2_ALLOC_WRITE,
  READ_AIO,
  READ_BACKING_AIO,
  READ_COMPRESSED,
  WRITE_AIO,
  WRITE_COMPRESSED,
  VMSTATE_LOAD,
  VMSTATE_SAVE,
  COW_READ,
  COW_WRITE,
  REFTABLE_LOAD,
  REFTABLE_GROW,
  REFTABLE_UPDATE,
  REFBLOCK_LOAD,
  REFBLOCK_UPDATE,
  REFBLOCK_UPDATE_PART,
  REFBLOCK_ALLOC,
  REFBLOCK_ALLOC_HOOKUP,
  REFBLOCK_ALLOC_WRITE,
  REFBLOCK_ALLOC_WRITE_BLOCKS,
  REFBLOCK_ALLOC_WRITE_TABLE,
  REFBLOCK_ALLOC_SWITCH_TABLE,
  CLUSTER_ALLOC,
  CLUSTER_ALLOC_BYTES,
  CLUSTER_FREE,
  FLUSH_TO_OS,
  FLUSH_TO_DISK,
  PWRITEV_RMW_HEAD,
  PWRITEV_RMW_AFTER_HEAD,
  PWRITEV_RMW_TAIL,
  PWRITEV_RMW_AFTER_TAIL,
  PWRITEV,
  PWRITEV_ZERO,
  PWRITEV_DONE,
  EMPTY_IMAGE_PREPARE,
  L1_SHRINK_WRITE_TABLE,
  L1_SHRINK_FREE_L2_CLUSTERS,
  COR_WRITE,
  CLUSTER_ALLOC_SPACE;

  /** QEMU's name for it: {@code l2_update}. */
  public String word() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** The event that QEMU calls so, or null. */
  public static @Nullable BlockEvent of(String word) {
    for (BlockEvent event : values()) {
      if (event.word().equals(word)) {
        return event;
      }
    }
    return null;
  }
}
