/* For dc_recv dc_next_page: Everything that is there, in place, until there is no more. */
int print_all(dc_consumer *consumer)
{
    for (;;) {
        dc_message message;
        int code = dc_recv(consumer, &message, 0);
        if (code == DC_OK)
            printf("%.*s\n", (int)message.len,
                   (const char *)message.data);
        else if (code == DC_END_OF_PAGE)
            code = dc_next_page(consumer); /* ends the pointers */
        else if (code == DC_LAGGED)
            fprintf(stderr, "some were dropped unread\n");
        else if (code == DC_E_CORRUPT && message.position != 0)
            fprintf(stderr, "%s\n", dc_last_error()); /* skipped */
        else
            return code == DC_AGAIN ? DC_OK : code;
        if (code < 0 && code != DC_E_CORRUPT) return code;
    }
}
