package dev.imago.nbd;

import dev.imago.nbd.wire.ContextQuery;
import dev.imago.nbd.wire.MetaContext;
import dev.imago.nbd.wire.OptionHeader;
import dev.imago.nbd.wire.OptionReplyType;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Meta contexts in the handshake: which there are, and which a client has chosen for BLOCK_STATUS.
 * For the connection's own thread.
 */
final class ContextChoice {
  private final OptionReplies replies;

  /** For which export contexts were chosen, and which. */
  private @Nullable ServedExport chosenFor;

  private List<StatusSource> chosen = List.of();

  /** None is chosen. */
  ContextChoice(OptionReplies replies) {
    this.replies = replies;
  }

  /** None is chosen any more. */
  void forget() {
    chosenFor = null;
    chosen = List.of();
  }

  /** What was chosen for an export; nothing if the choice was for another one. */
  List<StatusSource> of(ServedExport export) {
    return export == chosenFor ? chosen : List.of();
  }

  /** Answers LIST_META_CONTEXT. */
  void list(OptionHeader header, ContextQuery query, ServedExport export) throws IOException {
    for (String name : export.contexts().keySet()) {
      boolean wanted =
          query.queries().isEmpty()
              || query.queries().stream().anyMatch(q -> name.equals(q) || isFamily(name, q));
      if (wanted) {
        MetaContext context = new MetaContext(0, name);
        replies.add(header, OptionReplyType.META_CONTEXT, context.bytes(), context::write);
      }
    }
    replies.acknowledge(header);
  }

  /** Whether a query names a namespace, or all dirty bitmaps. */
  private static boolean isFamily(String name, String query) {
    return name.startsWith(query)
        && (query.indexOf(':') == query.length() - 1 || query.equals(MetaContext.BITMAP));
  }

  /** Answers SET_META_CONTEXT. */
  void set(OptionHeader header, ContextQuery query, ServedExport export) throws IOException {
    List<StatusSource> sources = new ArrayList<>();
    for (Map.Entry<String, StatusSource> context : export.contexts().entrySet()) {
      if (query.queries().contains(context.getKey())) {
        MetaContext selected = new MetaContext(sources.size(), context.getKey());
        sources.add(context.getValue());
        replies.add(header, OptionReplyType.META_CONTEXT, selected.bytes(), selected::write);
      }
    }
    chosenFor = export;
    chosen = sources;
    replies.acknowledge(header);
  }
}
